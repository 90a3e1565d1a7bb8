"""ELU, SPELU and MPELU as modules."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import mpelu

MODULES = {
    "elu": lambda **kwargs: mpelu.ELU(alpha=0.5),
    "spelu": lambda **kwargs: mpelu.SPELU(3, alpha=0.5, **kwargs),
    "mpelu": lambda **kwargs: mpelu.MPELU(3, alpha=0.5, beta=2.0, **kwargs),
}
LEARNED = {"spelu": ("alpha",), "mpelu": ("alpha", "beta")}

every_module = pytest.mark.parametrize("name", MODULES)
every_learned = pytest.mark.parametrize("name", LEARNED)


def sample(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def randomise(module: nn.Module) -> nn.Module:
    """Parameters that no constructor would have given."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(0.1, 2.0, generator=generator)
    return module


@every_module
def test_modules_are_the_same_at_the_top_level_and_in_nn(name):
    assert getattr(mpelu, name.upper()) is getattr(mpelu.nn, name.upper())


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 3, 5), (2, 3, 4, 5)])
def test_mpelu_computes_the_formula_per_channel(shape):
    count = 3 if shape else 1
    module = randomise(mpelu.MPELU(count, dtype=torch.float64))
    input = sample(*shape, dtype=torch.float64)
    alpha, beta = module.alpha.tolist(), module.beta.tolist()
    inner = math.prod(shape[2:])
    expected = [
        x if x > 0 else alpha[i // inner % count] * math.expm1(beta[i // inner % count] * x)
        for i, x in enumerate(input.flatten().tolist())
    ]
    expected = torch.tensor(expected, dtype=torch.float64).reshape(shape)
    torch.testing.assert_close(module(input), expected)


@pytest.mark.parametrize("dim", [0, 1, 2, -1, -3])
def test_dim_is_the_channel_dimension(dim):
    module = randomise(mpelu.MPELU(3, dim=dim))
    first = randomise(mpelu.MPELU(3))
    input = sample(3, 3, 3)
    expected = first(input.movedim(dim, 1)).movedim(1, dim)
    torch.testing.assert_close(module(input), expected)


@pytest.mark.parametrize("shape", [(), (5,), (2, 5), (2, 5, 3)])
def test_one_parameter_is_shared_by_all_channels(shape):
    input = sample(*shape)
    expected = torch.where(input > 0, input, 0.5 * torch.expm1(2.0 * input))
    torch.testing.assert_close(mpelu.MPELU(alpha=0.5, beta=2.0)(input), expected)


@pytest.mark.parametrize("make", [mpelu.ELU, mpelu.SPELU, mpelu.MPELU])
def test_alpha_and_beta_of_1_equal_torch_elu_in_value_and_gradient(make):
    ours, theirs = (sample(4, 3, 5).requires_grad_() for _ in range(2))
    output, expected = make()(ours), nn.ELU()(theirs)
    torch.testing.assert_close(output, expected)
    output.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_alpha_of_0_equals_torch_relu():
    input = sample(4, 3, 5)
    assert torch.equal(mpelu.ELU(alpha=0.0)(input), nn.ReLU()(input))


def test_small_beta_comes_near_to_torch_prelu():
    input = sample(4, 3, 5, dtype=torch.float64)
    slope, beta = 0.25, 1e-6
    module = mpelu.MPELU(3, alpha=slope / beta, beta=beta, dtype=torch.float64)
    expected = nn.PReLU(3, init=slope, dtype=torch.float64)(input)
    torch.testing.assert_close(module(input), expected, rtol=1e-5, atol=0)


def test_elu_inplace_overwrites_its_input():
    input = sample(2, 3)
    expected = nn.ELU(0.5)(input)
    output = mpelu.ELU(0.5, inplace=True)(input)
    assert output is input
    torch.testing.assert_close(input, expected)


def test_elu_not_inplace_leaves_its_input():
    input = sample(2, 3)
    before = input.clone()
    mpelu.ELU(0.5)(input)
    assert torch.equal(input, before)


@pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated")
@pytest.mark.parametrize("make", [*MODULES.values(), lambda: mpelu.ELU(inplace=True)])
def test_scripted_modules_compute_the_same(make):
    module = make()
    scripted = torch.jit.script(module)
    assert torch.equal(scripted(sample(2, 3)), module(sample(2, 3)))


@every_learned
def test_every_parameter_gets_a_gradient(name):
    module = MODULES[name]()
    module(sample(4, 3, 5)).sum().backward()
    for parameter in module.parameters():
        assert parameter.grad.shape == (3,)
        assert (parameter.grad != 0).all()


@every_learned
@pytest.mark.parametrize("count", [1, 3])
def test_parameters_are_alpha_and_beta_with_num_parameters_elements(name, count):
    module = getattr(mpelu, name.upper())(count)
    assert {key: p.shape for key, p in module.named_parameters()} == dict.fromkeys(
        LEARNED[name], (count,)
    )


def test_elu_has_no_state():
    assert not mpelu.ELU().state_dict()


@every_learned
def test_reset_parameters_restores_the_starting_values(name):
    module = randomise(MODULES[name]())
    module.reset_parameters()
    assert module.alpha.tolist() == [0.5] * 3
    if name == "mpelu":
        assert module.beta.tolist() == [2.0] * 3


@pytest.mark.parametrize("make", [mpelu.MPELU, mpelu.BatchNormMPELU1d])
@pytest.mark.parametrize("computed", ["parametrized", "pruned"])
def test_reset_parameters_leaves_a_computed_one_as_it_is(make, computed):
    module = make(3)
    if computed == "parametrized":
        nn.utils.parametrize.register_parametrization(module, "alpha", nn.Softplus())
    else:
        prune.random_unstructured(module, "alpha", amount=1)
    randomise(module)
    expected = module.alpha.clone()
    module.reset_parameters()
    assert torch.equal(module.alpha, expected)
    assert module.beta.tolist() == [1.0] * 3


@every_module
@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))],
    ids=["deepcopy", "pickle"],
)
def test_copies_are_equal_and_independent(name, duplicate):
    module = randomise(MODULES[name]())
    twin = duplicate(module)
    input = sample(2, 3, 4)
    expected = module(input).detach()
    assert repr(twin) == repr(module)
    assert torch.equal(twin(input), expected)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert torch.equal(module(input), expected)


@every_learned
def test_state_dict_carries_the_parameters_over(name):
    module = randomise(MODULES[name]())
    state = module.state_dict()
    assert tuple(state) == LEARNED[name]
    twin = MODULES[name]()
    twin.load_state_dict(state)
    input = sample(2, 3, 4)
    assert torch.equal(twin(input), module(input))


@every_learned
def test_state_dict_of_another_size_is_refused(name):
    with pytest.raises(RuntimeError, match="size mismatch for alpha"):
        MODULES[name]().load_state_dict(getattr(mpelu, name.upper())(4).state_dict())


@every_learned
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_to_changes_the_parameters_dtype(name, dtype):
    module = MODULES[name]().to(dtype)
    assert all(parameter.dtype == dtype for parameter in module.parameters())
    assert module(sample(2, 3).to(dtype)).dtype == dtype


@every_learned
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_float32_parameters_serve_half_inputs(name, dtype):
    module = MODULES[name]()
    output = module(sample(2, 3).to(dtype))
    assert output.dtype == dtype
    output.sum().backward()
    assert module.alpha.grad.dtype == torch.float32


@every_learned
def test_device_and_dtype_arguments_place_the_parameters(name, device):
    module = MODULES[name](device=device, dtype=torch.float64)
    for parameter in module.parameters():
        assert parameter.device.type == device.type
        assert parameter.dtype == torch.float64


@every_module
def test_to_moves_the_module_to_the_device(name, device):
    module = randomise(MODULES[name]())
    input = sample(2, 3, 4)
    expected = module(input)
    output = module.to(device)(input.to(device))
    assert output.device.type == device.type
    torch.testing.assert_close(output.cpu(), expected)


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (mpelu.ELU(), "ELU(alpha=1.0)"),
        (mpelu.ELU(0.5, inplace=True), "ELU(alpha=0.5, inplace=True)"),
        (mpelu.SPELU(), "SPELU(num_parameters=1)"),
        (mpelu.MPELU(16, alpha=0.25), "MPELU(num_parameters=16)"),
        (mpelu.MPELU(16, dim=-1), "MPELU(num_parameters=16, dim=-1)"),
    ],
    ids=repr,
)
def test_repr_shows_the_settings_as_torch_prelu_does(module, expected):
    assert repr(module) == expected


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (mpelu.ELU, "alpha"),
        (mpelu.SPELU, "alpha"),
        (mpelu.MPELU, "alpha"),
        (mpelu.MPELU, "beta"),
    ],
)
def test_starting_values_must_be_finite(make, argument, value):
    with pytest.raises(ValueError, match=f"{argument} must be finite, got {value}"):
        make(**{argument: value})


@pytest.mark.parametrize("make", [mpelu.ELU, mpelu.SPELU, mpelu.MPELU])
def test_starting_values_must_be_numbers(make):
    with pytest.raises(TypeError, match="alpha must be a number, got str"):
        make(alpha="1")


@pytest.mark.parametrize("make", [mpelu.SPELU, mpelu.MPELU])
@pytest.mark.parametrize("count", [0, -1])
def test_num_parameters_must_be_positive(make, count):
    with pytest.raises(ValueError, match=f"num_parameters must be >= 1, got {count}"):
        make(count)


@pytest.mark.parametrize("make", [mpelu.SPELU, mpelu.MPELU])
@pytest.mark.parametrize("argument", ["num_parameters", "dim"])
@pytest.mark.parametrize("value", [1.0, "1", True, None])
def test_counts_must_be_integers(make, argument, value):
    with pytest.raises(TypeError, match=f"{argument} must be an integer, got {value!r}"):
        make(**{argument: value})


def test_negative_alpha_is_refused_inplace_alone():
    assert mpelu.ELU(-0.5)(torch.tensor(-1.0)) > 0
    with pytest.raises(ValueError, match=r"alpha must be >= 0 where inplace is True, got -0\.5"):
        mpelu.ELU(-0.5, inplace=True)


@every_learned
def test_wrong_number_of_channels_is_an_error(name):
    with pytest.raises(RuntimeError, match="alpha"):
        MODULES[name]()(sample(2, 4))


@every_learned
def test_a_training_step_lowers_the_loss(name):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3), MODULES[name](), nn.Linear(3, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    input = sample(32, 3)
    target = input.sum(1, keepdim=True)

    def loss() -> torch.Tensor:
        return nn.functional.mse_loss(model(input), target)

    before = loss()
    before.backward()
    optimizer.step()
    assert loss() < before
