"""mpelu.optim.param_groups: alpha and beta apart from the other parameters."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import mpelu
from mpelu.optim import param_groups


def small_model() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(4, 8),
        mpelu.MPELU(8),
        nn.Sequential(nn.BatchNorm1d(8), mpelu.SPELU()),
        nn.PReLU(),
        mpelu.ELU(),
        nn.Linear(8, 2),
    )


def ids(parameters) -> list[int]:
    return [id(parameter) for parameter in parameters]


def test_alpha_and_beta_are_in_the_second_group_and_nothing_else():
    model = small_model()
    _, activations = param_groups(model, lr=0.1, weight_decay=1e-4)
    learned = [model[1].alpha, model[1].beta, model[2][1].alpha]
    assert ids(activations["params"]) == ids(learned)


def test_every_parameter_is_in_exactly_one_group_in_the_models_order():
    model = small_model()
    others, activations = param_groups(model, lr=0.1, weight_decay=1e-4)
    grouped = ids(others["params"]) + ids(activations["params"])
    assert sorted(grouped) == sorted(ids(model.parameters()))
    rest = [i for i in ids(model.parameters()) if i not in ids(activations["params"])]
    assert ids(others["params"]) == rest


def test_defaults_are_5_times_the_rate_and_10_times_the_decay():
    others, activations = param_groups(small_model(), lr=0.1, weight_decay=1e-4)
    assert (others["lr"], others["weight_decay"]) == (0.1, 1e-4)
    assert activations["lr"] == pytest.approx(0.5)
    assert activations["weight_decay"] == pytest.approx(1e-3)


def test_multipliers_can_be_chosen():
    _, activations = param_groups(
        small_model(), 0.1, 1e-4, activation_lr_mult=2.0, activation_decay_mult=0.0
    )
    assert activations["lr"] == pytest.approx(0.2)
    assert activations["weight_decay"] == 0.0


def test_a_parameter_that_modules_share_is_counted_once():
    model = small_model()
    model.append(model[1])
    model.append(mpelu.MPELU(8))
    model[-1].alpha = model[1].alpha
    model[5].weight = model[0].weight
    groups = param_groups(model, lr=0.1, weight_decay=1e-4)
    grouped = ids(groups[0]["params"]) + ids(groups[1]["params"])
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == set(ids(model.parameters()))


def test_frozen_parameters_are_included_and_stay_as_they_are():
    model = small_model()
    model[0].weight.requires_grad_(False)
    model[1].alpha.requires_grad_(False)
    groups = param_groups(model, lr=0.1, weight_decay=1e-4)
    assert id(model[0].weight) in ids(groups[0]["params"])
    assert id(model[1].alpha) in ids(groups[1]["params"])

    weight, alpha = model[0].weight.clone(), model[1].alpha.clone()
    optimizer = torch.optim.SGD(groups)
    model(torch.randn(16, 4)).sum().backward()
    optimizer.step()
    assert torch.equal(model[0].weight, weight)
    assert torch.equal(model[1].alpha, alpha)


def test_what_a_parametrized_alpha_is_computed_from_is_in_the_second_group():
    model = nn.Sequential(mpelu.MPELU(3), mpelu.BatchNormMPELU1d(3))
    for module in model:
        nn.utils.parametrize.register_parametrization(module, "alpha", nn.Softplus())
    nn.utils.parametrizations.weight_norm(model[1], "weight", dim=None)
    _, activations = param_groups(model, lr=0.1, weight_decay=1e-4)
    learned = [
        parameter
        for module in model
        for parameter in (module.beta, module.parametrizations.alpha.original)
    ]
    assert ids(activations["params"]) == ids(learned)


def test_what_a_pruned_alpha_is_computed_from_is_in_the_second_group():
    model = nn.Sequential(nn.Linear(3, 3), mpelu.SPELU(3), mpelu.BatchNormMPELU1d(3))
    for module, name in ((model[0], "weight"), (model[1], "alpha"), (model[2], "alpha")):
        prune.random_unstructured(module, name, amount=1)
    _, activations = param_groups(model, lr=0.1, weight_decay=1e-4)
    assert ids(activations["params"]) == ids(
        [model[1].alpha_orig, model[2].beta, model[2].alpha_orig]
    )


def test_the_activation_as_the_whole_model_has_its_parameters_in_the_second_group():
    module = mpelu.MPELU(3)
    others, activations = param_groups(module, lr=0.1, weight_decay=0.0)
    assert others["params"] == []
    assert ids(activations["params"]) == ids(module.parameters())


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
@pytest.mark.parametrize(
    "model", [small_model(), nn.Linear(4, 2)], ids=["with activations", "without"]
)
def test_groups_go_straight_into_an_optimiser(optimizer, model):
    optimizer = optimizer(param_groups(model, lr=0.1, weight_decay=1e-4))
    before = [parameter.clone() for parameter in model.parameters()]
    model(torch.randn(16, 4)).square().sum().backward()
    optimizer.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.5]
    assert all(
        not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)
    )


def test_sgd_moves_alpha_by_five_times_the_gradient_and_fifty_times_the_decay():
    model = small_model().double()
    alpha = model[1].alpha
    start = alpha.detach().clone()
    optimizer = torch.optim.SGD(param_groups(model, lr=0.1, weight_decay=0.01))
    model(torch.randn(16, 4, dtype=torch.float64)).sum().backward()
    optimizer.step()
    expected = start - 0.5 * (alpha.grad + 0.1 * start)
    torch.testing.assert_close(alpha.detach(), expected)


@pytest.mark.parametrize(
    "argument", ["lr", "weight_decay", "activation_lr_mult", "activation_decay_mult"]
)
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_rates_must_be_finite_and_not_negative(argument, value):
    arguments = {"lr": 0.1, "weight_decay": 1e-4, argument: value}
    with pytest.raises(ValueError, match=f"^{argument} must be .*, got {value}"):
        param_groups(small_model(), **arguments)


def test_model_must_be_a_module():
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module, got list"):
        param_groups([nn.Linear(2, 2)], lr=0.1, weight_decay=0.0)
