"""mpelu.convert.fuse_batch_norm_: batch norm and the activation after it become one."""

from __future__ import annotations

import copy

import pytest
import torch
import torchvision
from convert_samples import (
    FUSED,
    MODELS,
    Model,
    Untraceable,
    count,
    every_dtype,
    every_model,
    images,
    pair,
    randomise,
    unfused,
)
from init_statistics import assert_slope
from timm.layers import BatchNormAct2d
from tolerances import SAME_MODEL_FUSED, assert_same_outputs
from torch import nn

import mpelu
from mpelu import convert


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@every_dtype
@every_model
def test_fusing_keeps_outputs_in_evaluation_and_in_training_and_the_statistics(name, dtype):
    sample = MODELS[name]
    model = randomise(sample.make()).to(dtype)
    fused = copy.deepcopy(model)
    assert convert.fuse_batch_norm_(fused) is fused
    assert count(fused, *FUSED) == sample.pairs
    input = images(sample.size, dtype=dtype)
    for mode in (False, True, False):  # the second evaluation is with the statistics of the first
        model.train(mode), fused.train(mode)
        with torch.no_grad():
            assert_same_outputs(fused(input), model(input), SAME_MODEL_FUSED)


@pytest.mark.parametrize(
    "name", ["timm", "timm, activations in the norms", "mpelu", "spelu", "elu"]
)
def test_fusing_keeps_every_gradient_and_a_training_step_works(name):
    model = randomise(MODELS[name].make()).double()
    fused = convert.fuse_batch_norm_(copy.deepcopy(model))
    input = images(32, dtype=torch.float64)
    gradients = []
    for each in (model, fused):
        each(input).square().sum().backward()
        trained = [p for p in each.parameters() if p.requires_grad]
        gradients.append(sorted(p.grad.norm().item() for p in trained))
        torch.optim.SGD(each.parameters(), lr=1e-6).step()
    assert gradients[1] == pytest.approx(gradients[0], rel=1e-8)
    with torch.no_grad():
        torch.testing.assert_close(fused(input), model(input), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize(
    "activation",
    [
        mpelu.MPELU(4, alpha=0.5, beta=2.0),
        mpelu.MPELU(alpha=0.5),
        mpelu.SPELU(4, alpha=0.5),
        mpelu.ELU(0.5),
        nn.ELU(0.5),
        nn.ELU(inplace=True),
        nn.ReLU(),
        nn.ReLU(inplace=True),
    ],
    ids=repr,
)
def test_every_batch_norm_fuses_with_every_activation(dim, activation):
    norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dim - 1](4)
    model = randomise(nn.Sequential(norm, copy.deepcopy(activation)))
    input = torch.randn(3, 4, *[5] * dim)
    expected = copy.deepcopy(model)(input)
    convert.fuse_batch_norm_(model)
    assert type(model[0]) is FUSED[dim - 1]
    assert type(model[1]) is nn.Identity
    assert_same_outputs(model(input), expected, SAME_MODEL_FUSED)


def test_timms_norm_with_an_activation_inside_stays_where_more_than_that_is_inside():
    of_silu = BatchNormAct2d(4, act_layer=nn.SiLU)
    dropping = BatchNormAct2d(4, drop_layer=nn.Dropout)
    hooked, held = BatchNormAct2d(4), BatchNormAct2d(4)
    hooked.act.register_forward_hook(lambda *_: None)
    model = nn.Sequential(of_silu, dropping, hooked, held)
    model.kept = [held]
    convert.fuse_batch_norm_(model)
    assert count(model, BatchNormAct2d) == 4


@pytest.mark.parametrize(
    ("activation", "alpha"), [(mpelu.ELU(0.5), 0.5), (nn.ELU(0.25), 0.25), (nn.ReLU(), 0.0)]
)
def test_a_fixed_alpha_does_not_start_to_learn(activation, alpha):
    model = convert.fuse_batch_norm_(nn.Sequential(nn.BatchNorm2d(4), activation).double())
    assert model[0].alpha.tolist() == [alpha]
    assert model[0].alpha.dtype == torch.float64
    assert not model[0].alpha.requires_grad
    assert model[0].beta is None


def test_a_relus_negative_half_is_0_whatever_the_input():
    model = convert.fuse_batch_norm_(nn.Sequential(nn.BatchNorm2d(1), nn.ReLU()).eval())
    input = torch.tensor([-torch.inf, -1e30, -1.0, -0.0, 0.0, 2.0]).reshape(1, 1, 1, -1)
    assert (model(input).flatten()[:5] == 0).all()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "settings",
    [
        {"momentum": None},
        {"momentum": 0.3, "eps": 1e-2},
        {"affine": False},
        {"track_running_stats": False},
        {"affine": False, "track_running_stats": False},
    ],
    ids=repr,
)
def test_settings_mode_and_the_tensors_themselves_are_kept(settings, training):
    pair = nn.Sequential(nn.BatchNorm2d(4, **settings), mpelu.MPELU(4)).double()
    norm, activation = randomise(pair).train(training)
    if norm.affine:
        norm.weight.requires_grad_(False)
    activation.beta.requires_grad_(False)
    fused = convert.fuse_batch_norm_(nn.Sequential(norm, activation))[0]
    for name in ("num_features", "eps", "momentum", "affine", "track_running_stats", "training"):
        assert getattr(fused, name) == getattr(norm, name)
    for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        assert getattr(fused, name) is getattr(norm, name)
    for name in ("alpha", "beta"):
        assert getattr(fused, name) is getattr(activation, name)
    expected = {**norm.state_dict(), **activation.state_dict()}
    assert fused.state_dict().keys() == expected.keys()


def test_a_batch_norm_without_a_bias_fuses():
    model = randomise(nn.Sequential(nn.BatchNorm2d(4), mpelu.MPELU(4)))
    model[0].register_parameter("bias", None)
    input = images(channels=4)
    expected = copy.deepcopy(model)(input)
    fused = convert.fuse_batch_norm_(model)[0]
    assert fused.bias is None
    assert_same_outputs(fused(input), expected, SAME_MODEL_FUSED)


def test_fusing_leaves_a_model_on_the_meta_device_there():
    with torch.device("meta"):
        model = convert.fuse_batch_norm_(nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()))
    assert all(tensor.is_meta for tensor in model.state_dict().values())


@pytest.mark.parametrize(
    "forward",
    [
        lambda self, x: self.activation(y := self.norm(x)) + y,
        lambda self, x: self.activation(self.norm(self.norm(x))),
        lambda self, x: self.activation(self.norm(x)) + self.activation(self.norm(-x)),
        lambda self, x: self.activation(self.activation(self.norm(x))),
        lambda self, x: self.activation(self.norm(x)) + self.activation(self.other(x)),
        lambda self, x: self.activation(self.norm(x) + 1),
        lambda self, x: self.activation(nn.functional.max_pool2d(self.norm(x), 2)),
        lambda self, x: nn.functional.relu(self.norm(x)),
        lambda self, x: self.activation(self.norm(x)) if self.training else self.norm(x),
        lambda self, x: self.norm(x) if self.training else self.activation(self.norm(x)),
        lambda self, x: self.activation(self.norm(x)) if x.sum() > 0 else self.norm(x),
        lambda self, x: self.norm(self.activation(x)),
        lambda self, x: self.activation(self.norm(x)) * self.activation.alpha.sum(),
    ],
    ids=[
        "output used twice",
        "norm called twice in a row",
        "pair called twice",
        "activation called twice in a row",
        "activation after two norms",
        "addition between",
        "pooling between",
        "functional activation",
        "an activation in training alone",
        "an activation in evaluation alone",
        "data decides",
        "activation first",
        "alpha used elsewhere",
    ],
)
def test_what_is_not_a_pair_used_once_stays(forward):
    assert unfused(Model(forward))


@pytest.mark.parametrize(
    "activation",
    [
        nn.PReLU(4),
        nn.LeakyReLU(),
        nn.ReLU6(),
        nn.GELU(),
        mpelu.MPELU(4, dim=-1),
        mpelu.MPELU(4, dim=2),
        type("Own", (mpelu.MPELU,), {})(4),
    ],
    ids=repr,
)
def test_other_activations_stay(activation):
    assert unfused(pair(activation))


def test_subclasses_of_batch_norm_stay():
    assert unfused(pair(norm=type("Own", (nn.BatchNorm2d,), {})(4)))
    model = pair(norm=nn.SyncBatchNorm(4)).eval()
    assert type(convert.fuse_batch_norm_(model)[1]) is nn.SyncBatchNorm


@pytest.mark.parametrize("part", [1, 2])
@pytest.mark.parametrize(
    "change",
    [
        lambda module: module.register_forward_hook(lambda module, args, output: None),
        lambda module: module.register_forward_pre_hook(lambda module, args: None),
        lambda module: module.register_full_backward_hook(lambda module, *gradients: None),
        lambda module: setattr(module, "forward", lambda input: input),
        lambda module: nn.utils.parametrize.register_parametrization(
            module, next(iter(dict(module.named_parameters()))), nn.Softplus()
        ),
    ],
    ids=["forward hook", "pre-hook", "backward hook", "own forward", "parametrization"],
)
def test_modules_with_hooks_or_parametrizations_stay(part, change):
    model = pair()
    change(model[part])
    parts = list(model.modules())
    assert list(convert.fuse_batch_norm_(model).modules()) == parts


@pytest.mark.parametrize("part", ["norm", "activation"])
def test_modules_with_two_names_stay(part):
    model = Model(lambda self, x: self.activation(self.norm(x)))
    model.alias = getattr(model, part)
    assert unfused(model)


def test_a_shared_relu_stays_for_its_other_users():
    model = randomise(torchvision.models.resnet18())
    convert.fuse_batch_norm_(model)
    block = model.layer1[0]
    assert type(block.bn1) is FUSED[1]
    assert type(block.bn2) is nn.BatchNorm2d
    assert type(block.relu) is nn.ReLU


def test_pairs_in_sequentials_fuse_where_the_model_around_does_not_trace():
    model = nn.Sequential(Untraceable(), nn.BatchNorm2d(4), nn.Identity(), nn.ReLU())
    convert.fuse_batch_norm_(model)
    assert [type(part) for part in model[0].body[1:]] == [FUSED[1], nn.Identity]
    assert type(model[1]) is FUSED[1]


def test_taylor_init_knows_the_alpha_and_beta_of_a_fused_module():
    model = nn.Sequential(
        *(nn.Conv2d(32, 32, 3), nn.BatchNorm2d(32), mpelu.MPELU(32, alpha=0.5, beta=3.0)),
        *(nn.Conv2d(32, 32, 3), nn.BatchNorm2d(32), mpelu.SPELU(32, alpha=2.0)),
    )
    mpelu.init.taylor_init_(convert.fuse_batch_norm_(model))
    assert_slope(model[0], 1.5)
    assert_slope(model[3], 2.0)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")
def test_modes_of_scripted_parts_are_kept():
    model = nn.Sequential(
        torch.jit.script(nn.Sequential(nn.Dropout())), nn.BatchNorm2d(3), nn.ELU()
    )
    for training in (True, False):
        convert.fuse_batch_norm_(model.train(training))
        assert all(module.training is training for module in model.modules())


def test_fusing_twice_is_fusing_once():
    model = convert.fuse_batch_norm_(mpelu.models.mpelu_resnet(11, 10, fused=False))
    parts = list(model.modules())
    assert list(convert.fuse_batch_norm_(model).modules()) == parts
