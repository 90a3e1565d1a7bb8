"""Taylor initialisation: the statistics of the fillers, and what taylor_init_ fills and how."""

from __future__ import annotations

import math

import pytest
import torch
from init_statistics import assert_slope, assert_std, expected_std
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from torch.testing._internal.distributed.fake_pg import FakeStore

import mpelu
from mpelu.init import taylor_init_, taylor_normal_, taylor_uniform_

FILLERS = {"normal": taylor_normal_, "uniform": taylor_uniform_}
FANS = {
    "fan_in": lambda fan_in, fan_out: fan_in,
    "fan_out": lambda fan_in, fan_out: fan_out,
    "fan_avg": lambda fan_in, fan_out: (fan_in + fan_out) / 2,
}

every_distribution = pytest.mark.parametrize("distribution", FILLERS)
every_mode = pytest.mark.parametrize("mode", FANS)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


# The fillers


@every_distribution
@every_mode
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (0.25, 1.0), (0.0, 1.0), (-2.0, 1.5)])
@pytest.mark.parametrize(
    ("shape", "fan_in", "fan_out"),
    [
        ((100, 300), 300, 100),
        ((64, 32, 5), 160, 320),
        ((48, 16, 3, 5), 240, 720),
        ((24, 12, 3, 3, 3), 324, 648),
    ],
)
def test_deviation_is_the_formulas(distribution, mode, alpha, beta, shape, fan_in, fan_out):
    weight = FILLERS[distribution](torch.empty(shape), alpha, beta, mode)
    n = FANS[mode](fan_in, fan_out)
    assert_std(weight, expected_std(n, alpha * beta), distribution)


def test_uniform_fills_up_to_sqrt_3_deviations():
    weight = taylor_uniform_(torch.empty(300, 400), alpha=0.5, beta=2.0)
    bound = math.sqrt(3) * expected_std(400, 1.0)
    assert weight.abs().max().item() <= bound * (1 + 1e-6)
    assert weight.abs().max().item() == pytest.approx(bound, rel=1e-3)


@every_mode
def test_alpha_0_is_the_initialisation_of_he(mode):
    weight = taylor_normal_(torch.empty(64, 32, 3, 3), alpha=0.0, mode=mode)
    if mode == "fan_avg":
        assert_std(weight, math.sqrt(2 / ((64 + 32) * 9 / 2)))
        return
    torch.manual_seed(0)
    expected = nn.init.kaiming_normal_(torch.empty(64, 32, 3, 3), mode=mode, nonlinearity="relu")
    torch.testing.assert_close(weight, expected)


@every_distribution
def test_filler_works_in_place_on_a_parameter_and_returns_it(distribution):
    weight = nn.Parameter(torch.zeros(4, 5))
    assert FILLERS[distribution](weight) is weight
    assert weight.requires_grad
    assert weight.is_leaf
    assert (weight != 0).all()


@every_distribution
def test_generator_decides_the_values(distribution):
    fill = FILLERS[distribution]
    first, second, other = (
        fill(torch.empty(4, 5), generator=torch.Generator().manual_seed(seed)) for seed in (7, 7, 8)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@every_distribution
def test_generator_leaves_the_global_one_alone(distribution):
    state = torch.get_rng_state()
    FILLERS[distribution](torch.empty(4, 5), generator=torch.Generator())
    assert torch.equal(torch.get_rng_state(), state)


@every_distribution
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_every_floating_point_dtype_is_filled(distribution, dtype):
    weight = FILLERS[distribution](torch.empty(200, 300, dtype=dtype))
    assert weight.dtype == dtype
    # bfloat16 keeps 8 bits: rounding adds up to 2**-9 of a value, which is below the tolerance.
    assert_std(weight, expected_std(300, 1.0), distribution)


@every_distribution
def test_meta_weights_stay_meta(distribution):
    assert FILLERS[distribution](torch.empty(4, 5, device="meta")).is_meta


@every_distribution
def test_weight_on_the_device_is_filled(distribution, device):
    weight = FILLERS[distribution](torch.empty(200, 300, device=device))
    assert weight.device.type == device.type
    assert_std(weight.cpu(), expected_std(300, 1.0), distribution)


@every_distribution
@pytest.mark.parametrize("shape", [(), (5,)])
def test_fan_of_less_than_2_dimensions_is_an_error(distribution, shape):
    with pytest.raises(ValueError, match="at least 2 dimensions"):
        FILLERS[distribution](torch.empty(shape))


@every_distribution
def test_unknown_mode_is_an_error(distribution):
    with pytest.raises(ValueError, match=r"mode must be .*, got 'fan'"):
        FILLERS[distribution](torch.empty(4, 5), mode="fan")


@every_distribution
@pytest.mark.parametrize("argument", ["alpha", "beta"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_alpha_and_beta_must_be_finite(distribution, argument, value):
    with pytest.raises(ValueError, match=f"{argument} must be finite"):
        FILLERS[distribution](torch.empty(4, 5), **{argument: value})


# taylor_init_: what it fills, and how

LAYERS = {
    "linear": lambda: nn.Linear(200, 300),
    "conv1d": lambda: nn.Conv1d(48, 96, 5),
    "conv2d": lambda: nn.Conv2d(48, 96, 3),
    "conv2d grouped": lambda: nn.Conv2d(96, 192, 3, groups=4),
    "conv3d": lambda: nn.Conv3d(24, 48, 3),
    "conv_transpose1d": lambda: nn.ConvTranspose1d(48, 96, 5),
    "conv_transpose2d": lambda: nn.ConvTranspose2d(48, 96, 3),
    "conv_transpose2d grouped": lambda: nn.ConvTranspose2d(96, 192, 3, groups=4),
    "conv_transpose3d": lambda: nn.ConvTranspose3d(24, 48, 3),
    "depthwise": lambda: nn.Conv2d(512, 512, 5, groups=512),
}


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
@every_mode
@every_distribution
def test_every_kind_of_layer_is_filled_by_its_own_fans(make, mode, distribution):
    layer = make()
    kernel, groups = math.prod(getattr(layer, "kernel_size", ())), getattr(layer, "groups", 1)
    inputs = getattr(layer, "in_channels", getattr(layer, "in_features", None))
    outputs = getattr(layer, "out_channels", getattr(layer, "out_features", None))
    n = FANS[mode](inputs // groups * kernel, outputs // groups * kernel)
    taylor_init_(nn.Sequential(layer, mpelu.MPELU(alpha=2.0)), mode=mode, distribution=distribution)
    assert_std(layer.weight, expected_std(n, 2.0), distribution)
    assert (layer.bias == 0).all()


def test_layers_without_bias_are_filled():
    layer = taylor_init_(nn.Linear(200, 200, bias=False), alpha=1.0)
    assert_slope(layer, 1.0)


@pytest.fixture
def mesh():
    """Of two processes, of which there is only this one."""
    torch.distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    yield init_device_mesh("cpu", (2,))
    torch.distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore:DTensor random operators")
@pytest.mark.parametrize(
    "make",
    [lambda: nn.Linear(200, 400), lambda: nn.Conv2d(96, 384, 3, groups=4)],
    ids=["linear", "grouped"],
)
@every_distribution
def test_a_weight_in_shards_is_filled(make, distribution, mesh):
    layer = make()
    n = layer.weight[0].numel()
    for name, parameter in list(layer.named_parameters()):
        sharded = distribute_tensor(parameter.detach(), mesh, [Shard(0)])
        setattr(layer, name, nn.Parameter(sharded))
    taylor_init_(layer, alpha=2.0, distribution=distribution)
    assert_std(layer.weight.to_local(), expected_std(n, 2.0), distribution)
    assert (layer.bias.to_local() == 0).all()


def test_other_layers_stay_as_they_are():
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.PReLU(), nn.Embedding(3, 4))
    state = {name: p.clone() for name, p in model.state_dict().items() if not name.startswith("0")}
    taylor_init_(model, alpha=1.0)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in state.items())


def test_it_returns_the_module_and_keeps_its_parameters():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    weight = model[0].weight
    assert taylor_init_(model) is model
    assert model[0].weight is weight
    assert weight.requires_grad
    assert weight.grad_fn is None


@every_distribution
def test_one_generator_gives_one_model(distribution):
    def filled(seed: int) -> torch.Tensor:
        model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU())
        generator = torch.Generator().manual_seed(seed)
        taylor_init_(model, distribution=distribution, generator=generator)
        return torch.cat([model[0].weight, model[2].weight])

    assert torch.equal(filled(5), filled(5))
    assert not torch.equal(filled(5), filled(6))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_models_are_filled(dtype):
    model = nn.Sequential(nn.Linear(200, 200), mpelu.MPELU(alpha=2.0)).to(dtype)
    taylor_init_(model)
    assert_slope(model[0], 2.0)


def test_models_on_the_meta_device_stay_as_they_are():
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(4, 4), mpelu.MPELU(4), nn.Linear(4, 4))
    assert taylor_init_(model)[0].weight.is_meta


def test_model_on_the_device_is_filled(device):
    model = nn.Sequential(nn.Linear(200, 200), mpelu.MPELU(200, alpha=2.0)).to(device)
    taylor_init_(model)
    assert_slope(model[0].cpu(), 2.0)


def test_the_variance_of_the_signal_is_kept_through_a_deep_network():
    slope = 0.5
    layers = [(nn.Linear(400, 400), nn.LeakyReLU(slope)) for _ in range(30)]
    model = nn.Sequential(*(module for pair in layers for module in pair))
    taylor_init_(model)
    input = torch.randn(100, 400)
    ratio = model(input).square().mean() / input.square().mean()
    assert 0.3 < ratio.item() < 3.0


@pytest.mark.parametrize("fused", [True, False])
def test_residual_network_needs_the_arguments_for_its_branches_alone(fused):
    model = mpelu.models.mpelu_resnet(20, 10, fused=fused)
    with pytest.raises(ValueError) as error:
        taylor_init_(model)
    assert "'stages.0.0.residual.6'" in str(error.value)
    assert "'stages.0.0.residual.0'" not in str(error.value)
    taylor_init_(model, alpha=0.25, beta=1.0)
    assert_slope(model.stages[2][1].residual[0], 0.25)
    assert_slope(model.stages[2][1].residual[6], 0.25)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"distribution": "cauchy"}, "distribution must be 'normal' or 'uniform', got 'cauchy'"),
        ({"mode": "fan"}, "mode must be .*, got 'fan'"),
        ({"alpha": math.nan}, "alpha must be finite, got nan"),
        ({"beta": math.inf}, "beta must be finite, got inf"),
        ({"alpha": 1e200, "beta": 1e200}, r"alpha \* beta must be finite, got inf"),
    ],
)
def test_bad_arguments_are_an_error_and_change_nothing(arguments, message):
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    before = model[0].weight.clone()
    with pytest.raises(ValueError, match=message):
        taylor_init_(model, **{"alpha": 1.0, **arguments})
    assert torch.equal(model[0].weight, before)


@pytest.mark.parametrize(
    "layer",
    [nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), nn.LazyLinear(4)],
    ids=["parametrized", "lazy"],
)
def test_a_weight_that_cannot_be_filled_is_an_error(layer):
    with pytest.raises(ValueError, match="the weight of layer '0' cannot be filled"):
        taylor_init_(nn.Sequential(layer, nn.ReLU()))


SPOILT_WEIGHTS = {
    "int8": torch.ones(3, 3, dtype=torch.int8),
    "float8": torch.ones(3, 3).to(torch.float8_e4m3fn),
    "expanded": torch.ones(1, 3).expand(3, 3),
}


@pytest.mark.parametrize("spoil", ["alpha", *SPOILT_WEIGHTS])
def test_what_a_later_layer_has_wrong_is_an_error_that_changes_nothing(spoil):
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3), mpelu.MPELU(3))
    if spoil == "alpha":
        nn.init.constant_(model[3].alpha, torch.nan)
    else:
        model[2].weight = nn.Parameter(SPOILT_WEIGHTS[spoil], requires_grad=False)
    before = model[0].weight.clone()
    with pytest.raises(ValueError, match=r"layer '2' cannot|after '2' must be finite, got nan"):
        taylor_init_(model)
    assert torch.equal(model[0].weight, before)
