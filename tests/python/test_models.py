"""mpelu.models.mpelu_resnet: the MPELU-nopre bottleneck network."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from convert_samples import randomise
from tolerances import SAME_MODEL_FUSED, assert_same_outputs
from torch import Tensor, nn

import mpelu
from mpelu.convert import fold_batch_norm_, fuse_batch_norm_
from mpelu.models import MPELUResNet, mpelu_resnet

# The slope alpha * beta that the Taylor initialisation takes for each activation.
SLOPES = {"mpelu": 0.25, "spelu": 0.25, "elu": 1.0, "prelu": 0.25, "relu": 0.0}
every_activation = pytest.mark.parametrize("activation", SLOPES)
every_learned = pytest.mark.parametrize("activation", ["mpelu", "spelu"])
fused_or_not = pytest.mark.parametrize("fused", [True, False])


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


@fused_or_not
@pytest.mark.parametrize(("depth", "expected"), [(164, 1_696_250), (1001, 10_279_034)])
def test_parameters_at_the_depths_of_the_paper(depth, expected, fused):
    with torch.device("meta"):
        assert count(mpelu_resnet(depth, 10, fused=fused)) == expected


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


@pytest.mark.parametrize(
    ("fused", "between"),
    [(True, ["BatchNormMPELU2d", "Identity"]), (False, ["BatchNorm2d", "MPELU"])],
)
def test_block_is_nopre_with_its_stride_in_the_first_convolution(fused, between):
    block = mpelu_resnet(20, 10, fused=fused).stages[1][0]
    kinds = [type(module).__name__ for module in block.residual]
    assert kinds == ["Conv2d", *between] * 2 + ["Conv2d"]
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


@fused_or_not
def test_alpha_starts_at_a_quarter_and_beta_at_1(fused):
    kind = mpelu.BatchNormMPELU2d if fused else mpelu.MPELU
    activations = [m for m in mpelu_resnet(20, 10, fused=fused).modules() if isinstance(m, kind)]
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
    assert (model.stem[1].alpha == 2.0).all()
    assert (model.stem[1].beta == 3.0).all()
    weight = model.stages[2][0].residual[3].weight
    expected = math.sqrt(2 / (9 * 64 * (1 + 36.0)))
    assert weight.std().item() == pytest.approx(expected, rel=5 / math.sqrt(2 * weight.numel()))


def test_one_seed_gives_one_model():
    torch.manual_seed(3)
    first = mpelu_resnet(11, 10).state_dict()
    torch.manual_seed(3)
    second = mpelu_resnet(11, 10).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@fused_or_not
@every_activation
def test_copy_pickle_and_state_dict_give_the_same_scores(activation, fused):
    model = randomise(mpelu_resnet(11, 10, activation=activation, fused=fused)).eval()
    input = torch.randn(2, 3, 8, 8)
    expected = model(input)
    assert torch.equal(copy.deepcopy(model)(input), expected)
    assert torch.equal(pickle.loads(pickle.dumps(model))(input), expected)
    twin = mpelu_resnet(11, 10, activation=activation, fused=fused).eval()
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


# Fused and not


def both_forms(activation: str = "mpelu", depth: int = 20) -> tuple[MPELUResNet, MPELUResNet]:
    """The fused network and the one of pairs, from one seed."""
    forms = []
    for fused in (True, False):
        torch.manual_seed(0)
        forms.append(mpelu_resnet(depth, 10, activation=activation, fused=fused))
    return forms[0], forms[1]


def results(model: nn.Module, input: Tensor) -> list[Tensor]:
    """Scores, gradients and, where it trains, the statistics afterwards."""
    input = input.detach().clone().requires_grad_()
    scores = model(input)
    nn.functional.cross_entropy(scores, torch.arange(len(input))).backward()
    statistics = [buffer.double() for buffer in model.buffers()]
    return [scores.detach(), input.grad, *(p.grad for p in model.parameters()), *statistics]


@every_learned
def test_both_forms_start_from_the_same_values_in_the_same_order(activation):
    fused, pairs = both_forms(activation)
    assert count(fused) == count(pairs)
    for ours, theirs in zip(fused.parameters(), pairs.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("training", [True, False])
@every_learned
def test_both_forms_compute_the_same_scores_gradients_and_statistics(activation, training, layout):
    fused, pairs = both_forms(activation)
    for model in (fused, pairs):
        model.train(training).to(torch.float64, memory_format=layout)
    fused.load_state_dict(randomise(pairs).state_dict())
    input = torch.randn(4, 3, 16, 16, dtype=torch.float64).contiguous(memory_format=layout)
    for ours, theirs in zip(results(fused, input), results(pairs, input), strict=True):
        assert_same_outputs(ours, theirs, SAME_MODEL_FUSED)


@pytest.mark.parametrize("training", [True, False])
def test_both_forms_compute_the_same_scores_in_float32(training):
    fused, pairs = (model.train(training) for model in both_forms())
    input = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        assert_same_outputs(fused(input), pairs(input), SAME_MODEL_FUSED)


def test_fusing_the_pairs_gives_the_fused_network():
    fused, pairs = both_forms()
    converted = fuse_batch_norm_(pairs).state_dict()
    assert list(converted) == list(fused.state_dict())
    assert all(torch.equal(converted[name], value) for name, value in fused.state_dict().items())


@pytest.mark.parametrize("activation", ["elu", "prelu", "relu"])
def test_baselines_are_pairs_either_way(activation):
    fused, pairs = both_forms(activation)
    assert repr(fused) == repr(pairs)


#: Of depth 11: the names that alpha and beta had before the fused form was there.
EARLIER_NAMES = [
    "stem.2",
    *(f"stages.{stage}.0.residual.{place}" for stage in range(3) for place in (2, 5)),
    "tail.1",
]


def test_pairs_have_the_names_of_earlier_checkpoints():
    names = mpelu_resnet(11, 10, fused=False).state_dict()
    expected = [f"{path}.{name}" for path in EARLIER_NAMES for name in ("alpha", "beta")]
    assert [name for name in names if name.endswith(("alpha", "beta"))] == expected


@pytest.mark.parametrize("wrap", [lambda model: model, nn.Sequential], ids=["alone", "inside"])
@every_learned
def test_state_dicts_go_from_either_form_to_the_other(activation, wrap):
    input = torch.randn(2, 3, 8, 8)
    for source, target in (both_forms(activation, 11), both_forms(activation, 11)[::-1]):
        source, target = (wrap(model).eval() for model in (randomise(source), target))
        state = source.state_dict()
        names = list(state)
        assert str(target.load_state_dict(state)) == "<All keys matched successfully>"
        assert list(state) == names
        assert_same_outputs(target(input).detach(), source(input).detach(), SAME_MODEL_FUSED)


def test_state_dicts_of_folded_networks_go_from_either_form_to_the_other():
    fused, unfused = (fold_batch_norm_(randomise(model).eval()) for model in both_forms())
    input = torch.randn(2, 3, 8, 8)
    for source, target in ((fused, unfused), (unfused, fused)):
        target.load_state_dict(source.state_dict())
        assert_same_outputs(target(input).detach(), source(input).detach(), SAME_MODEL_FUSED)
        back = copy.deepcopy(source)
        for tensor in back.state_dict().values():
            tensor.zero_()
        back.load_state_dict(target.state_dict())
        assert torch.equal(back(input), source(input))


def test_an_optimisers_state_goes_from_either_form_to_the_other():
    input = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    for source, target in (both_forms(depth=11), both_forms(depth=11)[::-1]):
        optimizers = []
        for model in (source.double(), target.double()):
            groups = mpelu.optim.param_groups(model, lr=0.1, weight_decay=1e-4)
            optimizers.append(torch.optim.SGD(groups, momentum=0.9))
        results(source, input)
        optimizers[0].step()
        target.load_state_dict(source.state_dict())
        # Copied, since the optimiser takes the tensors themselves.
        optimizers[1].load_state_dict(copy.deepcopy(optimizers[0].state_dict()))
        for model, optimizer in zip((source, target), optimizers, strict=True):
            optimizer.zero_grad()
            results(model, input)
            optimizer.step()
        for ours, theirs in zip(target.parameters(), source.parameters(), strict=True):
            assert_same_outputs(ours.detach(), theirs.detach(), SAME_MODEL_FUSED)


def test_parameter_groups_are_the_same_in_both_forms():
    grouped = [mpelu.optim.param_groups(model, lr=0.1, weight_decay=1e-4) for model in both_forms()]
    for ours, theirs in zip(*grouped, strict=True):
        assert (ours["lr"], ours["weight_decay"]) == (theirs["lr"], theirs["weight_decay"])
        for one, other in zip(ours["params"], theirs["params"], strict=True):
            assert torch.equal(one, other)


def test_taylor_init_gives_the_same_values_in_both_forms():
    fused, pairs = both_forms()
    for model in (fused, pairs):
        torch.manual_seed(1)
        mpelu.init.taylor_init_(model, alpha=0.25, beta=1.0, mode="fan_out")
    for ours, theirs in zip(fused.parameters(), pairs.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@fused_or_not
@pytest.mark.parametrize("saved_fused", [True, False])
def test_what_does_not_fit_is_named_in_the_form_that_loads(fused, saved_fused):
    model = mpelu_resnet(11, 10, fused=fused)
    state = mpelu_resnet(11, 10, fused=saved_fused).state_dict()
    here, there = (f"stem.{1 if form else 2}" for form in (fused, saved_fused))
    del state[f"{there}.alpha"]
    with pytest.raises(RuntimeError) as error:
        model.load_state_dict(state)
    assert f'Missing key(s) in state_dict: "{here}.alpha".' in str(error.value)
    assert "Unexpected" not in str(error.value)


@fused_or_not
def test_what_is_of_another_activation_is_named_as_it_was_saved(fused):
    model = mpelu_resnet(11, 10, activation="spelu", fused=fused)
    with pytest.raises(RuntimeError) as error:
        model.load_state_dict(mpelu_resnet(11, 10, fused=not fused).state_dict())
    assert "Missing" not in str(error.value)
    assert f'Unexpected key(s) in state_dict: "stem.{2 if fused else 1}.beta"' in str(error.value)


def test_alpha_in_both_places_is_an_error():
    fused, pairs = both_forms(depth=11)
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "stem.2.alpha"'):
        fused.load_state_dict({**fused.state_dict(), "stem.2.alpha": pairs.stem[2].alpha})


@fused_or_not
def test_compiled_in_one_graph(fused):
    model = mpelu_resnet(11, 10, fused=fused)
    compiled = torch.compile(copy.deepcopy(model), fullgraph=True, backend="aot_eager")
    input = torch.randn(4, 3, 8, 8)
    expected, actual = results(model, input), results(compiled, input)
    for ours, theirs in zip(actual, expected, strict=True):
        assert_same_outputs(ours, theirs, SAME_MODEL_FUSED)
    torch._dynamo.reset()


@fused_or_not
@pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated")
def test_scripted_computes_the_same(fused):
    model = mpelu_resnet(11, 10, fused=fused)
    scripted = torch.jit.script(copy.deepcopy(model))
    input = torch.randn(4, 3, 8, 8)
    expected, actual = results(model, input), results(scripted, input)
    assert torch.equal(actual[0], expected[0])
    for ours, theirs in zip(actual, expected, strict=True):
        assert_same_outputs(ours, theirs, SAME_MODEL_FUSED)


# Bad arguments


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
