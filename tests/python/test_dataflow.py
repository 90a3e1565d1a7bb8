"""Which activation taylor_init_ finds after each layer of a model."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from init_statistics import assert_slope
from torch import nn

import mpelu
from mpelu.init import taylor_init_


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def learned(alpha: float, beta: float) -> nn.Module:
    """An MPELU after a conv of 32 channels that differs from channel to channel."""
    module = mpelu.MPELU(32)
    with torch.no_grad():
        module.alpha.copy_(torch.linspace(0.5, 1.5, 32) * alpha)
        module.beta.copy_(torch.linspace(0.5, 1.5, 32) * beta)
    return module


@pytest.mark.parametrize(
    ("activation", "slope"),
    [
        (mpelu.ELU(0.5), 0.5),
        (mpelu.SPELU(32, alpha=0.5), 0.5),
        (mpelu.MPELU(32, alpha=0.5, beta=3.0), 1.5),
        (mpelu.MPELU(alpha=-2.0), 2.0),
        (nn.ELU(2.0), 2.0),
        (nn.PReLU(32, init=0.75), 0.75),
        (nn.LeakyReLU(0.5), 0.5),
        (nn.ReLU(), 0.0),
    ],
    ids=repr,
)
def test_the_following_activations_slope_is_taken(activation, slope):
    conv = nn.Conv2d(32, 32, 3)
    assert taylor_init_(nn.Sequential(conv, nn.BatchNorm2d(32), activation))[0] is conv
    assert_slope(conv, slope)


def test_channels_count_by_the_mean_of_alpha_squared_beta_squared():
    activation = learned(2.0, 1.0)
    products = [a * b for a, b in zip(*(p.tolist() for p in activation.parameters()), strict=True)]
    slope = math.sqrt(sum(product**2 for product in products) / 32)
    assert abs(slope - sum(products) / 32) > 0.1  # else a plain mean would pass
    conv = nn.Conv2d(64, 32, 5)
    taylor_init_(nn.Sequential(conv, activation))
    assert_slope(conv, slope)


@pytest.mark.parametrize(
    "between",
    [
        [],
        [nn.BatchNorm2d(32)],
        [nn.Dropout(0.5), nn.Identity()],
        [nn.MaxPool2d(2), nn.BatchNorm2d(32)],
        [nn.AvgPool2d(2)],
        [nn.AdaptiveAvgPool2d(1), nn.Flatten()],
        [nn.Sequential(nn.Sequential(nn.BatchNorm2d(32)))],
        [nn.Sequential()],
    ],
    ids=repr,
)
def test_layers_that_keep_the_slope_are_passed(between):
    conv = nn.Conv2d(32, 32, 3)
    taylor_init_(nn.Sequential(conv, *between, mpelu.MPELU(alpha=2.0)))
    assert_slope(conv, 2.0)


@pytest.mark.parametrize(
    "follower",
    [
        [],
        [nn.BatchNorm2d(32)],
        [nn.GELU()],
        [nn.Softmax(1), nn.ReLU()],
        [nn.Conv2d(32, 32, 1), nn.ReLU()],
    ],
    ids=repr,
)
def test_a_layer_without_a_known_activation_needs_the_arguments(follower):
    model = nn.Sequential(nn.Conv2d(32, 32, 3), *follower)
    with pytest.raises(ValueError, match="cannot tell which activation follows '0'"):
        taylor_init_(model)
    taylor_init_(model, alpha=0.5, beta=4.0)
    assert_slope(model[0], 2.0)


def test_arguments_serve_the_uncertain_layers_alone():
    model = nn.Sequential(nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 200))
    taylor_init_(model, alpha=2.0, beta=1.0)
    assert_slope(model[0], 0.0)
    assert_slope(model[2], 2.0)


@pytest.mark.parametrize(("arguments", "slope"), [({"alpha": 2.0}, 2.0), ({"beta": 3.0}, 3.0)])
def test_the_argument_that_is_not_given_is_1(arguments, slope):
    layer = taylor_init_(nn.Linear(200, 200), **arguments)
    assert_slope(layer, slope)


def test_an_error_names_every_uncertain_layer_and_changes_nothing():
    model = nn.Sequential(
        nn.Linear(8, 8), nn.ReLU(), nn.Sequential(nn.Linear(8, 8), nn.Tanh()), nn.Linear(8, 2)
    )
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"follows '2\.0', '3'; give alpha and beta"):
        taylor_init_(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_nested_sequentials_count_as_one():
    first, second = nn.Conv2d(32, 32, 3), nn.Conv2d(32, 32, 3)
    block = nn.Sequential(mpelu.MPELU(alpha=2.0), nn.Sequential(second))
    taylor_init_(nn.Sequential(nn.Sequential(first), block, nn.Sequential(nn.ReLU())))
    assert_slope(first, 2.0)
    assert_slope(second, 0.0)


class Functional(nn.Module):
    """Layers and activations as a traceable forward applies them."""

    def __init__(self, activate) -> None:
        super().__init__()
        self.conv = nn.Conv2d(32, 32, 3)
        self.norm = nn.BatchNorm2d(32)
        self.alpha = nn.Parameter(torch.full((32,), 2.0))
        self.beta = nn.Parameter(torch.full((1,), 1.5))
        self.activate = activate

    def forward(self, input):
        return self.activate(self, self.norm(self.conv(input)))


@pytest.mark.parametrize(
    ("activate", "slope"),
    [
        (lambda self, x: F.relu(x), 0.0),
        (lambda self, x: F.relu(x, inplace=True), 0.0),
        (lambda self, x: torch.relu(x), 0.0),
        (lambda self, x: x.relu(), 0.0),
        (lambda self, x: F.relu(F.dropout(F.max_pool2d(x, 2), training=self.training)), 0.0),
        (lambda self, x: F.relu(torch.flatten(x, 1)), 0.0),
        (lambda self, x: F.relu(x.view(x.size(0), -1)), 0.0),
        (lambda self, x: F.relu(x.reshape(x.shape[0], -1)), 0.0),
        (lambda self, x: F.elu(x, 2.0), 2.0),
        (lambda self, x: F.leaky_relu(x, negative_slope=0.5), 0.5),
        (lambda self, x: F.prelu(x, self.alpha), 2.0),
        (lambda self, x: F.prelu(x, torch.full((1,), 0.5)), 0.5),
        (lambda self, x: mpelu.functional.elu(x, 3.0), 3.0),
        (lambda self, x: mpelu.functional.elu(x, 3.0, inplace=True), 3.0),
        (lambda self, x: mpelu.functional.spelu(x, self.alpha), 2.0),
        (lambda self, x: mpelu.functional.mpelu(x, self.alpha, self.beta), 3.0),
    ],
)
def test_functions_count_as_modules_do(activate, slope):
    model = Functional(activate)
    taylor_init_(model)
    assert_slope(model.conv, slope)


@pytest.mark.parametrize(
    "activate",
    [
        lambda self, x: F.relu(x) + x,
        lambda self, x: F.relu(x + 1.0),
        lambda self, x: F.relu(x.mT),
        lambda self, x: F.prelu(x, x.mean()),
        lambda self, x: mpelu.functional.mpelu(x, self.alpha * 2, self.beta),
        lambda self, x: mpelu.functional.mpelu(self.alpha, x, self.beta),
    ],
    ids=["two users", "addition", "transposed", "computed slope", "computed alpha", "as alpha"],
)
def test_what_is_not_certain_needs_the_arguments(activate):
    model = Functional(activate)
    with pytest.raises(ValueError, match="cannot tell which activation follows 'conv'"):
        taylor_init_(model)


def test_tracing_leaves_no_trace_in_the_model():
    def activate(self, input):
        output = F.relu(input) * torch.tensor(2.0)
        self.seen = self.last = output
        self.outputs.append(output)
        self.named_outputs["last"] = output
        self.distinct_outputs.add(output)
        self.added = nn.Identity()
        self.register_buffer("table", torch.ones(32))
        self.scale = nn.Parameter(torch.ones(32))
        return output

    model = nn.Sequential(Functional(activate))
    part = model[0]
    part.last, part.outputs, part.named_outputs, part.distinct_outputs = None, [], {}, set()
    names, parts, tensors = set(vars(part)), list(model.modules()), set(model.state_dict())
    taylor_init_(model)
    assert set(vars(part)) == names
    assert part.last is None
    assert not (part.outputs or part.named_outputs or part.distinct_outputs)
    assert list(model.modules()) == parts
    assert set(model.state_dict()) == tensors
    assert_slope(part.conv, 0.0)


def test_what_a_forward_writes_into_buffers_and_other_tensors_is_undone():
    def activate(self, input):
        self.steps += 1
        self.history[0].add_(1)
        return F.relu(input)

    model = Functional(activate)
    model.register_buffer("steps", torch.zeros(()))
    model.history = [torch.zeros(2)]
    taylor_init_(model)
    assert model.steps == 0
    assert not model.history[0].any()
    assert_slope(model.conv, 0.0)


def test_what_a_module_keeps_needs_the_arguments():
    def activate(self, input):
        self.seen = input
        return F.relu(input)

    with pytest.raises(ValueError, match="cannot tell which activation follows 'conv'"):
        taylor_init_(Functional(activate))


def test_an_optional_argument_counts_as_given_and_as_left_out():
    class Gated(Functional):
        def forward(self, input, gate=None):
            return self.activate(self, self.conv(input), gate)

    model = Gated(lambda self, x, gate: F.relu(x) if gate is None else F.relu(x) * gate)
    taylor_init_(model)
    assert_slope(model.conv, 0.0)
    model = Gated(lambda self, x, gate: torch.tanh(x) if gate is None else F.relu(x) * gate)
    with pytest.raises(ValueError, match="cannot tell which activation follows 'conv'"):
        taylor_init_(model)


class Shared(nn.Module):
    """One layer, used twice."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.layer, self.first, self.second = nn.Linear(200, 200), first, second

    def forward(self, input):
        return self.second(self.layer(self.first(self.layer(input))))


def test_a_layer_used_twice_takes_the_slope_that_its_activations_agree_on():
    model = Shared(nn.PReLU(init=0.5), mpelu.ELU(0.5))
    taylor_init_(model)
    assert_slope(model.layer, 0.5)
    with pytest.raises(ValueError, match="'layer'"):
        taylor_init_(Shared(nn.ReLU(), mpelu.ELU(0.5)))


class Untraceable(nn.Module):
    """A forward that depends on the data, around a Sequential that does not."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(200, 200), mpelu.MPELU(alpha=2.0), nn.Linear(200, 200))

    def forward(self, input):
        return self.body(input) if input.sum() > 0 else input


def test_an_untraceable_models_sequentials_are_read_one_by_one():
    model = Untraceable()
    with pytest.raises(ValueError, match=r"follows 'body\.2'"):
        taylor_init_(model)
    taylor_init_(model, alpha=0.0)
    assert_slope(model.body[0], 2.0)
    assert_slope(model.body[2], 0.0)


def test_an_untraceable_part_leaves_the_model_around_it_readable():
    model = nn.Sequential(
        nn.Linear(200, 200), nn.ReLU(), Untraceable(), nn.Linear(200, 200), mpelu.ELU(0.5)
    )
    with pytest.raises(ValueError, match=r"follows '2\.body\.2';"):
        taylor_init_(model)
    taylor_init_(model, alpha=3.0)
    for layer, slope in [
        (model[0], 0.0),
        (model[2].body[0], 2.0),
        (model[2].body[2], 3.0),
        (model[3], 0.5),
    ]:
        assert_slope(layer, slope)


def test_a_layer_before_an_untraceable_part_is_uncertain():
    with pytest.raises(ValueError, match=r"follows '0', '1\.body\.2'"):
        taylor_init_(nn.Sequential(nn.Linear(200, 200), Untraceable()))


def test_a_module_that_is_not_registered_does_not_stop_the_search():
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.activations = nn.Linear(200, 200), [nn.ReLU()]

        def forward(self, input):
            return self.activations[0](self.layer(input))

    model = Hidden()
    with pytest.raises(ValueError, match="'layer'"):
        taylor_init_(model)
    taylor_init_(model, alpha=2.0)
    assert_slope(model.layer, 2.0)
