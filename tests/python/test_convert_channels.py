"""The channels that mpelu.convert.replace_activations_ gives the new activations."""

from __future__ import annotations

import pytest
import torch
from convert_samples import images, sites
from torch import nn

import mpelu
from mpelu.convert import replace_activations_


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("layers", "shape", "expected"),
    [
        ([nn.Conv1d(3, 4, 1)], (2, 3, 5), (4, 1)),
        ([nn.Conv3d(3, 4, 1), nn.BatchNorm3d(4)], (2, 3, 5, 5, 5), (4, 1)),
        ([nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4), nn.Dropout()], (2, 3, 5, 5), (4, 1)),
        ([nn.ConvTranspose2d(3, 4, 1), nn.MaxPool2d(2)], (2, 3, 5, 5), (4, 1)),
        ([nn.Conv2d(3, 4, 1), mpelu.BatchNormMPELU2d(4)], (2, 3, 5, 5), (4, 1)),
        ([nn.Linear(3, 4), nn.BatchNorm1d(4)], (2, 3), (4, 1)),
    ],
)
@pytest.mark.parametrize("with_example", [True, False])
def test_channels_come_from_an_example_or_from_the_layer_before(
    layers, shape, expected, with_example
):
    model = nn.Sequential(*layers, nn.ReLU())
    example = torch.randn(shape)
    replace_activations_(model, example_input=example if with_example else None)
    assert list(sites(model).values()) == [expected]
    assert model(example).shape[1] == 4


@pytest.mark.parametrize("with_example", [True, False])
@pytest.mark.parametrize("norm", [nn.Identity, lambda: nn.LayerNorm(4)])
def test_channels_after_a_linear_layer_are_last(norm, with_example):
    model = nn.Sequential(nn.Linear(3, 4), norm(), nn.ReLU())
    tokens = torch.randn(2, 5, 3)
    replace_activations_(model, example_input=tokens if with_example else None)
    assert sites(model) == {"2": (4, -1)}
    assert model(tokens).shape == (2, 5, 4)


STATISTICS = torch.zeros(5), torch.ones(5)


@pytest.mark.parametrize(
    ("forward", "expected"),
    [
        (lambda self, x: self.act(self.linear(x)), (8, -1)),
        (lambda self, x: self.act(self.linear(x).chunk(2, -1)[0]), (4, -1)),
        (lambda self, x: self.act(torch.split(self.linear(x), 4, -1)[1]), (4, -1)),
        (lambda self, x: self.act(nn.functional.dropout(self.linear(x)) + x.sum()), (8, -1)),
        (lambda self, x: self.act(0.5 * self.linear(x)), (8, -1)),
        (lambda self, x: self.act(1 - self.linear(x) / 2), (8, -1)),
        (lambda self, x: self.act(torch.cat([x, self.linear(x)], -1)), (11, -1)),
        (lambda self, x: self.act(torch.add(x.sum(), other=self.linear(x))), (8, -1)),
        (lambda self, x: self.act(x @ self.linear.weight.T), (8, -1)),
        (lambda self, x: self.act(nn.functional.linear(x, self.linear.weight)), (8, -1)),
        (lambda self, x: self.act(self.linear(x).mT), (8, 1)),
        (lambda self, x: self.act(self.conv(self.linear(x).mT)), (8, 1)),
        (lambda self, x: self.act(input=self.linear(x)), (8, -1)),
        (lambda self, x: self.act(self.linear(x)[:, 1:]), (8, -1)),
        (lambda self, x: self.act(self.linear(x).view(2, 5, 8)), (8, -1)),
        (lambda self, x: self.act(self.linear(x).view(10, 8).exp().view(2, 5, 8)), (8, -1)),
        (lambda self, x: self.act(self.linear(x).flip(1).roll(1, 1)), (8, -1)),
        (lambda self, x: self.act(self.linear(x).half().clamp(-3, 3)), (8, -1)),
        (lambda self, x: self.act(nn.functional.mish(nn.functional.relu(self.linear(x)))), (8, -1)),
        (lambda self, x: self.act(nn.functional.pad(self.linear(x), (0, 0, 1, 1))), (8, -1)),
        (lambda self, x: self.act(self.linear(x).transpose(0, 1)), (8, -1)),
        (lambda self, x: self.act(self.linear(x).mT.mT), (8, -1)),
        (lambda self, x: self.act(torch.stack(self.linear(x).unbind())), (8, -1)),
        (lambda self, x: self.act(self.conv(self.linear(x).mT).mT), (8, -1)),
        (lambda self, x: self.act(nn.functional.batch_norm(self.linear(x), *STATISTICS)), (5, 1)),
        (lambda self, x: self.act(self.linear(x).view(2, 5, 2, 4)), (1, 1)),
        (lambda self, x: self.act(self.linear(x)[:, :2, :2].mT), (1, 1)),
        (lambda self, x: self.act(x), (1, 1)),
    ],
)
def test_what_a_linear_layer_puts_out_keeps_its_channels_last(forward, expected):
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.conv, self.act = nn.Linear(3, 8), nn.Conv1d(8, 8, 1), nn.ReLU()

        def forward(self, input):
            return forward(self, input)

    model = replace_activations_(Model(), example_input=torch.randn(2, 5, 3))
    assert sites(model) == {"act": expected}


WEIGHT = torch.randn(3, 8)


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.part = kind(3, 8, batch_first=True)

    def forward(self, input):
        return self.part(input)[0]


class Function(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.forward = function


@pytest.mark.parametrize(
    "maker",
    [
        Recurrent(nn.LSTM),
        Recurrent(nn.GRU),
        Recurrent(nn.RNN),
        Function(lambda x: torch.addmm(torch.zeros(8), x.view(-1, 3), WEIGHT).view(2, 5, 8)),
        Function(lambda x: torch.einsum("bnd, de -> bne", x, WEIGHT)),
        Function(lambda x: torch.bmm(x, WEIGHT.expand(2, 3, 8))),
        Function(lambda x: torch.baddbmm(torch.zeros(2, 5, 8), x, WEIGHT.expand(2, 3, 8))),
        Function(lambda x: nn.functional.bilinear(x, x, torch.randn(8, 3, 3))),
    ],
    ids=["LSTM", "GRU", "RNN", "addmm", "einsum", "bmm", "baddbmm", "bilinear"],
)
def test_other_makers_of_features_put_them_last_too(maker):
    model = replace_activations_(
        nn.Sequential(maker, nn.ReLU()), example_input=torch.randn(2, 5, 3)
    )
    assert sites(model) == {"1": (8, -1)}


@pytest.mark.parametrize(
    "change",
    [
        lambda self, y: y * torch.sigmoid(self.gate(torch.ones(6))),
        lambda self, y: y * self.gate(torch.ones(2, 4, 9, 6)),
        lambda self, y: y + self.time(torch.ones(2, 6))[:, :, None, None],
        lambda self, y: torch.cat([y, y], 1)[:, :4],
        lambda self, y: nn.functional.interpolate(y, scale_factor=2),
        lambda self, y: y.flatten(2),
        lambda self, y: torch.einsum("bchw,oc->bohw", y, torch.ones(4, 4)),
        lambda self, y: y.permute(0, 2, 3, 1).permute(0, 3, 1, 2),
    ],
)
def test_what_a_convolution_puts_out_keeps_its_channels_first(change):
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.act = nn.Conv2d(3, 4, 1), nn.ReLU()
            self.gate, self.time = nn.Linear(6, 1), nn.Linear(6, 4)

        def forward(self, input):
            return self.act(change(self, self.conv(input)))

    model = replace_activations_(Model(), example_input=torch.randn(2, 3, 9, 9))
    assert sites(model) == {"act": (4, 1)}


def test_without_an_example_pooling_over_features_is_uncertain():
    model = nn.Sequential(nn.Linear(6, 8), nn.MaxPool1d(2), nn.ReLU())
    with pytest.raises(ValueError, match="how many channels '2' has"):
        replace_activations_(model)
    replace_activations_(model, example_input=torch.randn(2, 5, 6))
    assert sites(model) == {"2": (4, -1)}


def test_autocast_does_not_change_the_parameters_dtype():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
    with torch.autocast("cpu", torch.bfloat16):
        replace_activations_(model, example_input=images())
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_channels_of_few_dimensions_are_where_mpelu_looks_for_them(shape):
    model = replace_activations_(nn.Sequential(nn.ReLU()), example_input=torch.randn(shape))
    assert sites(model) == {"0": (3 if shape else 1, 1)}
    assert model(torch.randn(shape)).shape == shape


class Calls(nn.Module):
    """One activation, called on each of some tensors, once they are normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.activation = nn.ReLU()

    def forward(self, *inputs):
        return [self.activation(nn.functional.instance_norm(input)) for input in inputs]


@pytest.mark.parametrize(("channels", "expected"), [((4, 4), 4), ((4, 8), 1), ((), 1)])
def test_one_activation_stays_one_and_is_channel_shared_where_channels_differ(channels, expected):
    model = Calls()
    example = tuple(torch.randn(2, count, 5, 5) for count in channels)
    replace_activations_(model, example_input=example)
    assert sites(model) == {"activation": (expected, 1)}
    assert [output.shape for output in model(*example)] == [input.shape for input in example]
