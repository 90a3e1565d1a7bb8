"""mpelu.models.mpelu_resnet: the MPELU-nopre bottleneck network."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

import mpelu
from mpelu.models import mpelu_resnet

# The slope alpha * beta that the Taylor initialisation takes for each activation.
SLOPES = {"mpelu": 0.25, "spelu": 0.25, "elu": 1.0, "prelu": 0.25, "relu": 0.0}
every_activation = pytest.mark.parametrize("activation", SLOPES)


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def expected_count(depth: int, classes: int, in_channels: int, per_channel: int) -> int:
    """By hand: every convolution, two numbers per batch norm channel, the activations', the end."""
    normalised = 2 + per_channel
    total = in_channels * 16 * 9 + 16 * normalised
    channels = 16
    for width in (16, 32, 64):
        for _ in range((depth - 2) // 9):
            total += channels * width + width * width * 9 + width * 4 * width
            total += 2 * width * normalised
            total += channels * 4 * width if channels != 4 * width else 0
            channels = 4 * width
    return total + channels * normalised + channels * classes + classes


def test_depth_164_has_1696250_parameters():
    assert count(mpelu_resnet(164, 10)) == 1_696_250


def test_depth_1001_has_10_28_million_parameters():
    with torch.device("meta"):
        assert round(count(mpelu_resnet(1001, 10)) / 1e6, 2) == 10.28


@pytest.mark.parametrize(
    ("activation", "per_channel"),
    [("mpelu", 2), ("spelu", 1), ("elu", 0), ("prelu", 1), ("relu", 0)],
)
@pytest.mark.parametrize(("depth", "classes", "in_channels"), [(11, 10, 1), (29, 100, 3)])
def test_parameter_count_is_that_of_the_layers(
    activation, per_channel, depth, classes, in_channels
):
    model = mpelu_resnet(depth, classes, in_channels, activation)
    assert count(model) == expected_count(depth, classes, in_channels, per_channel)


@every_activation
def test_forward_gives_scores_and_every_parameter_a_gradient(activation):
    torch.manual_seed(0)
    model = mpelu_resnet(20, 7, activation=activation)
    scores = model(torch.randn(4, 3, 16, 16))
    assert scores.shape == (4, 7)
    nn.functional.cross_entropy(scores, torch.arange(4)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("size", [(4, 4), (5, 7), (8, 8), (28, 28), (32, 32), (33, 31)])
def test_any_image_size_from_4_on_works(size):
    model = mpelu_resnet(11, 10, in_channels=1)
    assert model(torch.randn(2, 1, *size)).shape == (2, 10)


def test_stages_have_n_blocks_with_the_shortcut_a_convolution_only_where_the_width_changes():
    model = mpelu_resnet(29, 10)
    assert [len(stage) for stage in model.stages] == [3, 3, 3]
    for stage, (width, stride) in zip(model.stages, ((16, 1), (32, 2), (64, 2)), strict=True):
        assert isinstance(stage[0].shortcut, nn.Conv2d)
        assert stage[0].shortcut.kernel_size == (1, 1)
        assert stage[0].shortcut.stride == (stride, stride)
        assert all(isinstance(block.shortcut, nn.Identity) for block in stage[1:])
        assert {block.residual[-1].out_channels for block in stage} == {4 * width}


def test_block_is_nopre_with_its_stride_in_the_first_convolution():
    block = mpelu_resnet(20, 10).stages[1][0]
    kinds = [type(module).__name__ for module in block.residual]
    assert kinds == ["Conv2d", "BatchNorm2d", "MPELU"] * 2 + ["Conv2d"]
    convolutions = [module for module in block.residual if isinstance(module, nn.Conv2d)]
    assert [conv.kernel_size for conv in convolutions] == [(1, 1), (3, 3), (1, 1)]
    assert [conv.stride for conv in convolutions] == [(2, 2), (1, 1), (1, 1)]


def test_block_adds_the_shortcut_without_an_activation():
    block = mpelu_resnet(20, 10).eval().stages[1][0]
    input = torch.randn(2, 64, 8, 8)
    torch.testing.assert_close(block(input), block.residual(input) + block.shortcut(input))


def test_convolutions_have_no_bias_and_the_linear_layers_starts_at_0():
    model = mpelu_resnet(20, 10)
    assert all(m.bias is None for m in model.modules() if isinstance(m, nn.Conv2d))
    assert (model.classifier.bias == 0).all()


def test_alpha_starts_at_a_quarter_and_beta_at_1():
    activations = [m for m in mpelu_resnet(20, 10).modules() if isinstance(m, mpelu.MPELU)]
    assert len(activations) == 2 + 2 * 6
    assert all((m.alpha == 0.25).all() and (m.beta == 1.0).all() for m in activations)


@every_activation
def test_convolutions_start_with_the_taylor_deviation_by_fan_out(activation):
    torch.manual_seed(0)
    model = mpelu_resnet(20, 10, activation=activation)
    for name, conv in model.named_modules():
        if not isinstance(conv, nn.Conv2d):
            continue
        fan_out = math.prod(conv.kernel_size) * conv.out_channels
        expected = math.sqrt(2 / (fan_out * (1 + SLOPES[activation] ** 2)))
        # The sample deviation of n normal numbers has the relative error 1 / sqrt(2n).
        tolerance = 5 / math.sqrt(2 * conv.weight.numel())
        assert conv.weight.double().std().item() == pytest.approx(expected, rel=tolerance), name


def test_starting_alpha_and_beta_reach_the_activations_and_the_initialisation():
    torch.manual_seed(0)
    model = mpelu_resnet(11, 10, alpha=2.0, beta=3.0)
    assert (model.stem[2].alpha == 2.0).all()
    assert (model.stem[2].beta == 3.0).all()
    weight = model.stages[2][0].residual[3].weight
    expected = math.sqrt(2 / (9 * 64 * (1 + 36.0)))
    assert weight.std().item() == pytest.approx(expected, rel=5 / math.sqrt(2 * weight.numel()))


def test_one_seed_gives_one_model():
    torch.manual_seed(3)
    first = mpelu_resnet(11, 10).state_dict()
    torch.manual_seed(3)
    second = mpelu_resnet(11, 10).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@every_activation
def test_copy_and_state_dict_give_the_same_scores(activation):
    model = mpelu_resnet(11, 10, activation=activation).eval()
    input = torch.randn(2, 3, 8, 8)
    expected = model(input)
    assert torch.equal(copy.deepcopy(model)(input), expected)
    twin = mpelu_resnet(11, 10, activation=activation).eval()
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin(input), expected)


def test_a_few_training_steps_lower_the_loss(device):
    torch.manual_seed(0)
    model = mpelu_resnet(11, 4, in_channels=1).to(device)
    images = torch.randn(16, 1, 8, 8, device=device)
    labels = torch.arange(16, device=device) % 4
    optimizer = torch.optim.SGD(mpelu.optim.param_groups(model, lr=0.05, weight_decay=1e-4))
    losses = []
    for _ in range(5):
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("depth", "nearest"),
    [(12, "11 and 20"), (163, "155 and 164"), (1000, "992 and 1001"), (2, "11"), (-7, "11")],
)
def test_other_depths_are_an_error_that_names_the_nearest(depth, nearest):
    with pytest.raises(ValueError, match=rf"depth must be 9n \+ 2, got {depth}; .* {nearest}$"):
        mpelu_resnet(depth, 10)


def test_depth_must_be_an_integer():
    with pytest.raises(TypeError, match=r"depth must be an integer, got 20\.0"):
        mpelu_resnet(20.0, 10)


@pytest.mark.parametrize("argument", ["num_classes", "in_channels"])
def test_counts_must_be_positive(argument):
    with pytest.raises(ValueError, match=f"{argument} must be >= 1, got 0"):
        mpelu_resnet(11, **{"num_classes": 10, argument: 0})


def test_unknown_activation_is_an_error_that_lists_the_known_ones():
    message = r"activation must be one of 'mpelu', 'spelu', 'elu', 'prelu', 'relu', got 'gelu'"
    with pytest.raises(ValueError, match=message):
        mpelu_resnet(11, 10, activation="gelu")


@pytest.mark.parametrize("argument", ["alpha", "beta"])
def test_starting_values_must_be_finite(argument):
    with pytest.raises(ValueError, match=f"{argument} must be finite, got nan"):
        mpelu_resnet(11, 10, **{argument: math.nan})
