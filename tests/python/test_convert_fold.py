"""mpelu.convert.fold_batch_norm_: for evaluation, layers take over the batch norms after them."""

from __future__ import annotations

import copy

import pytest
import torch
from convert_samples import (
    FUSED,
    MODELS,
    Model,
    count,
    every_dtype,
    every_model,
    images,
    pair,
    randomise,
)
from tolerances import SAME_MODEL_FOLDED, assert_same_outputs
from torch import nn
from torch.nn.utils import parametrizations

import mpelu
from mpelu import convert


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@every_dtype
@pytest.mark.parametrize("fuse_first", [False, True], ids=["pairs", "fused"])
@every_model
def test_folding_keeps_outputs(name, fuse_first, dtype):
    sample = MODELS[name]
    model = randomise(sample.make()).to(dtype).eval()
    if fuse_first:
        convert.fuse_batch_norm_(model)
    folded = copy.deepcopy(model)
    assert convert.fold_batch_norm_(folded) is folded
    assert count(folded, nn.BatchNorm2d, *FUSED) == sample.unfoldable
    input = images(sample.size, dtype=dtype)
    with torch.no_grad():
        assert_same_outputs(folded(input), model(input), SAME_MODEL_FOLDED)


LAYERS = {
    "conv1d": (lambda **kw: nn.Conv1d(6, 4, 3, **kw), nn.BatchNorm1d, (6, 9)),
    "conv2d": (lambda **kw: nn.Conv2d(6, 4, 3, groups=2, **kw), nn.BatchNorm2d, (6, 9, 9)),
    "conv3d": (lambda **kw: nn.Conv3d(6, 4, 3, **kw), nn.BatchNorm3d, (6, 5, 5, 5)),
    "transposed1d": (lambda **kw: nn.ConvTranspose1d(6, 4, 3, **kw), nn.BatchNorm1d, (6, 9)),
    "transposed2d": (lambda **kw: nn.ConvTranspose2d(6, 4, 3, **kw), nn.BatchNorm2d, (6, 9, 9)),
    "transposed3d": (lambda **kw: nn.ConvTranspose3d(6, 4, 3, **kw), nn.BatchNorm3d, (6, 5, 5, 5)),
    "linear": (lambda **kw: nn.Linear(6, 4, **kw), nn.BatchNorm1d, (6,)),
}


@pytest.mark.parametrize("affine", [True, False], ids=["affine", "not affine"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_takes_a_batch_norm_over(name, bias, affine):
    make, norm, shape = LAYERS[name]
    model = nn.Sequential(make(bias=bias), norm(4, affine=affine), mpelu.MPELU(4))
    randomise(model).double().eval()
    for each in (model, convert.fuse_batch_norm_(copy.deepcopy(model))):
        input = torch.randn(3, *shape, dtype=torch.float64)
        expected = each(input)
        convert.fold_batch_norm_(each)
        assert not count(each, norm, *FUSED)
        assert_same_outputs(each(input), expected, SAME_MODEL_FOLDED)


@pytest.mark.parametrize("activation", [mpelu.MPELU(4), mpelu.MPELU(), mpelu.SPELU(4), nn.ReLU()])
def test_folding_a_fused_module_leaves_its_activation(activation):
    model = convert.fuse_batch_norm_(randomise(pair(activation)).eval())
    alpha = model[1].alpha
    convert.fold_batch_norm_(model)
    assert type(model[1]) is (mpelu.MPELU if type(activation) is mpelu.MPELU else mpelu.SPELU)
    assert model[1].alpha is alpha
    assert model[1].num_parameters == alpha.numel()
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("beta", [0.75, None])
def test_a_folded_activation_starts_from_where_the_fused_module_did(beta):
    fused = mpelu.BatchNormMPELU2d(4, alpha=0.25, beta=beta)
    model = convert.fold_batch_norm_(nn.Sequential(nn.Conv2d(3, 4, 3), fused).eval())
    alpha = model[1].alpha
    nn.init.zeros_(alpha)
    model[1].reset_parameters()
    assert alpha.tolist() == [0.25] * 4
    assert model[1].initial == fused.initial


@pytest.mark.parametrize("part", ["Sequential", "1"])
def test_folding_in_training_mode_is_refused(part):
    model = pair().eval()
    (model if part == "Sequential" else model[1]).training = True
    with pytest.raises(ValueError, match=f"needs a model in evaluation mode .*{part}"):
        convert.fold_batch_norm_(model)


def unfolded(model: nn.Module) -> bool:
    model = randomise(model).eval()
    input, parts = images(4), list(model.modules())
    with torch.no_grad():
        expected = model(input)
        return list(convert.fold_batch_norm_(model).modules()) == parts and torch.equal(
            model(input), expected
        )


@pytest.mark.parametrize(
    "forward",
    [
        lambda self, x: self.norm(x) + x,
        lambda self, x: self.norm(x + 1),
        lambda self, x: self.norm(nn.functional.relu(x)),
        lambda self, x: self.norm(x) + self.norm(-x),
        lambda self, x: self.norm(self.norm(x)),
        lambda self, x: self.norm(x) + self.conv(x[:, :3]),
        lambda self, x: self.norm(x) if x.sum() > 0 else x,
        lambda self, x: self.norm(x) * self.conv.weight.sum(),
        lambda self, x: self.norm(x) * self.norm.weight[0],
        lambda self, x: self.norm(setattr(self, "tap", x) or x),
    ],
    ids=[
        "two users",
        "addition",
        "relu",
        "norm used twice",
        "norm after itself",
        "conv used twice",
        "data decides",
        "weight used elsewhere",
        "norm's weight used elsewhere",
        "kept",
    ],
)
def test_a_batch_norm_that_a_layer_does_not_feed_alone_stays(forward):
    assert unfolded(Model(forward))


@pytest.mark.parametrize(
    "model",
    [
        pair(norm=nn.BatchNorm2d(4, track_running_stats=False)),
        pair(norm=type("Own", (nn.BatchNorm2d,), {})(4)),
        nn.Sequential(nn.ConvTranspose2d(3, 3, 2, groups=3), nn.BatchNorm2d(3)),
        nn.Sequential(parametrizations.weight_norm(nn.Conv2d(3, 4, 1)), nn.BatchNorm2d(4)),
        nn.Sequential(nn.utils.spectral_norm(nn.Conv2d(3, 4, 1)), nn.BatchNorm2d(4)),
        nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1)),
        nn.Sequential(nn.BatchNorm2d(3)),
    ],
    ids=[
        "no statistics",
        "subclass",
        "transposed with groups",
        "weight norm",
        "spectral norm",
        "norm first",
        "norm alone",
    ],
)
def test_a_batch_norm_that_cannot_be_folded_stays(model):
    assert unfolded(model)


@pytest.mark.parametrize(
    ("features", "norm", "shape"),
    [
        (4, nn.BatchNorm2d(4), (2, 4, 3, 6)),
        (4, nn.BatchNorm3d(4), (2, 4, 3, 3, 6)),
        (5, nn.BatchNorm1d(4), (2, 4, 6)),
        (4, mpelu.BatchNormMPELU2d(4), (2, 4, 3, 6)),
    ],
    ids=["2d", "3d", "1d of other channels", "fused 2d"],
)
def test_a_norm_of_something_else_than_a_linear_layers_features_stays(features, norm, shape):
    model = randomise(nn.Sequential(nn.Linear(6, features), norm)).eval()
    input, parts = torch.randn(shape), list(model)
    expected = model(input)
    assert list(convert.fold_batch_norm_(model)) == parts
    assert torch.equal(model(input), expected)


def test_an_error_leaves_the_whole_model_unfolded():
    model = randomise(nn.Sequential(*pair(), *pair())).eval()
    model[3].to("meta")  # unlike its norm
    parts, before = list(model), model[0].weight.clone()
    with pytest.raises(RuntimeError):
        convert.fold_batch_norm_(model)
    assert list(model) == parts
    assert torch.equal(model[0].weight, before)


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_a_new_bias_learns_where_the_weight_does(bias, trained):
    model = nn.Sequential(nn.Conv2d(3, 4, 1, bias=bias), nn.BatchNorm2d(4)).eval()
    model[0].weight.requires_grad_(trained)
    convert.fold_batch_norm_(model)
    assert model[0].weight.requires_grad is trained
    assert model[0].bias.requires_grad is (trained or bias)


@pytest.mark.parametrize("part", ["conv", "norm"])
def test_modules_that_are_in_a_plain_list_too_are_not_folded(part):
    model = Model(lambda self, x: self.norm(x))
    model.listed = [getattr(model, part)]
    assert unfolded(model)


def test_a_weight_that_is_tied_to_another_layers_is_left_there():
    model = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1))
    model[2].weight = model[0].weight
    before = model[2].weight.clone()
    convert.fold_batch_norm_(randomise(model).eval())
    assert torch.equal(model[2].weight, before)
