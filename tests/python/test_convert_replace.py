"""mpelu.convert.replace_activations_: a model's activations become MPELU, SPELU or ELU."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
import torchvision
from convert_samples import FUSED, MODELS, Untraceable, count, images, randomise, sites
from init_statistics import assert_slope
from tolerances import SAME_MODEL_FUSED, assert_same_outputs
from torch import nn

import mpelu
from mpelu.convert import fuse_batch_norm_, replace_activations_, split_shared_activations_


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_resnet50_has_one_parameter_per_channel_where_its_activations_are_not_shared():
    model = torchvision.models.resnet50()
    assert replace_activations_(model, example_input=images(64)) is model
    # The relu of a bottleneck block is called with 64, 64 and 256 channels.
    blocks = [f"layer{i}.{j}.relu" for i, n in enumerate((3, 4, 6, 3), 1) for j in range(n)]
    assert sites(model) == {"relu": (64, 1), **dict.fromkeys(blocks, (1, 1))}


def test_resnet50_split_has_one_parameter_per_channel_everywhere_and_then_fuses():
    model = split_shared_activations_(torchvision.models.resnet50())
    randomise(replace_activations_(model, example_input=images(64)))
    expected = {"relu": (64, 1)}
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for block in range(blocks):
            name, width = f"layer{stage + 1}.{block}.relu", 64 << stage
            expected |= {name: (width, 1), f"{name}_1": (width, 1), f"{name}_2": (4 * width, 1)}
    assert sites(model) == expected
    fused = fuse_batch_norm_(copy.deepcopy(model)).eval()
    assert count(fused, *FUSED) == MODELS["resnet50"].pairs
    input = images(64)
    with torch.no_grad():
        assert_same_outputs(fused(input), model.eval()(input), SAME_MODEL_FUSED)


def test_resnet18_has_one_parameter_per_channel():
    model = replace_activations_(torchvision.models.resnet18(), example_input=images(64))
    expected = {f"layer{i}.{j}.relu": (32 << i, 1) for i in range(1, 5) for j in range(2)}
    assert sites(model) == {"relu": (64, 1), **expected}


def test_timm_resnet_has_one_parameter_per_channel_and_then_fuses():
    model = timm.create_model("test_resnet").eval()
    norms = {name: m.num_features for name, m in model.named_modules() if "bn" in name}
    replace_activations_(model, example_input=images(64), alpha=0.5)
    after = {"bn1": "act1", "bn2": "act2", "bn3": "act3"}
    expected = {
        ".".join((*name.split(".")[:-1], after[name.split(".")[-1]])): (channels, 1)
        for name, channels in norms.items()
    }
    assert sites(model) == {"conv1.2": (16, 1), "conv1.5": (16, 1), **expected}
    model = randomise(model)
    fused = fuse_batch_norm_(copy.deepcopy(model))
    assert count(fused, *FUSED) == MODELS["timm"].pairs
    input = images(64)
    with torch.no_grad():
        assert_same_outputs(fused(input), model(input), SAME_MODEL_FUSED)


def test_timm_vision_transformers_tokens_have_their_channels_last():
    model = timm.create_model("test_vit")
    replace_activations_(model, from_=nn.GELU, example_input=images(160))
    assert len(model.blocks)
    assert sites(model) == {f"blocks.{i}.mlp.act": (192, -1) for i in range(len(model.blocks))}
    assert model(images(160)).shape == (2, 1000)


def transformer(**settings) -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, activation=nn.ReLU(), **settings)
    return nn.TransformerEncoder(layer, 2)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
def test_torchs_transformer_runs_the_new_activation_in_evaluation_too(batch_first, norm_first):
    tokens = torch.randn(3, 5, 8)
    model = transformer(batch_first=batch_first, norm_first=norm_first, dropout=0.0)
    replace_activations_(model, example_input=tokens, alpha=3.0)
    assert sites(model) == {f"layers.{i}.activation": (16, -1) for i in range(2)}
    padding = torch.zeros(3, 5, dtype=torch.bool).index_fill(1, torch.tensor([4]), True)
    padding = padding if batch_first else padding[[0, 0, 0, 1, 1], :3]
    expected = model(tokens, src_key_padding_mask=padding)
    with torch.no_grad():
        output = model.eval()(tokens, src_key_padding_mask=padding)
    torch.testing.assert_close(output, expected)


def test_a_part_that_is_built_in_the_first_forward_is_built_there_still():
    class Builds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.act, self.head = nn.Conv2d(3, 4, 1), nn.ReLU(), None

        def forward(self, input):
            features = self.act(self.conv(input)).flatten(1)
            if self.head is None:
                self.head = nn.Linear(features.shape[1], 2)
            return self.head(features)

    model = replace_activations_(Builds(), example_input=images(4))
    assert sites(model) == {"act": (4, 1)}
    assert model.head is None
    assert "head" not in dict(model.named_children())
    model(images(4))
    assert len(list(model.head.parameters())) == 2


@pytest.mark.parametrize("to", ["mpelu", "elu"])
def test_an_activation_in_a_plain_list_is_an_error_that_changes_nothing(to):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
    model.listed = [model[1]]
    with pytest.raises(ValueError, match="'1' is in an attribute, list, dict or tuple too"):
        replace_activations_(model, to=to)
    assert type(model[1]) is nn.ReLU


class OwnLayer(nn.Module):
    """A layer for torch's transformer encoder without an attribute called activation."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn, self.act = nn.MultiheadAttention(8, 2), nn.ReLU()

    def forward(self, input, **masks):
        return self.act(input + self.self_attn(input, input, input)[0])


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
@pytest.mark.parametrize("layers", [2, 0])
def test_torchs_transformer_may_have_layers_of_ones_own_or_none(layers):
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.TransformerEncoder(OwnLayer(), layers))
    replace_activations_(model, to="elu")
    assert count(model, mpelu.ELU) == 1 + layers


def test_a_model_that_is_still_lazy_is_an_error_that_changes_nothing():
    model = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(affine=False), nn.ReLU())
    example = torch.randn(2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"'0\.weight' is still lazy: run the model once"):
        replace_activations_(model, example_input=example)
    with pytest.raises(ValueError, match=r"'1\.running_mean' is still lazy"):
        replace_activations_(model[1:], example_input=example)
    model(example)
    assert sites(replace_activations_(model, example_input=example)) == {"2": (4, 1)}


def test_without_an_example_an_uncertain_activation_is_an_error_that_changes_nothing():
    model = torchvision.models.resnet18()
    parts = list(model.modules())
    with pytest.raises(ValueError, match=r"how many channels 'layer1\.0\.relu', .*example_input"):
        replace_activations_(model)
    assert list(model.modules()) == parts


def test_an_untraceable_model_is_run_on_the_example():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), Untraceable(nn.ReLU()))
    replace_activations_(model, example_input=images())
    assert sites(model) == {"1.body.2": (4, 1)}


def test_an_activation_under_two_names_stays_one():
    shared = nn.ReLU()
    model = nn.Sequential(nn.Conv2d(3, 4, 1), shared, nn.Conv2d(4, 4, 1), shared)
    replace_activations_(model, example_input=images())
    assert model[1] is model[3]
    assert model[1].num_parameters == 4


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ("mpelu", "MPELU(num_parameters=4)"),
        ("spelu", "SPELU(num_parameters=4)"),
        ("elu", "ELU(alpha=0.5)"),
    ],
)
def test_to_names_the_new_activation_and_alpha_and_beta_its_start(to, expected):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True))
    replace_activations_(model, to=to, alpha=0.5, beta=2.0)
    assert repr(model[1]) == expected
    assert {name: set(p.tolist()) for name, p in model[1].named_parameters()} == {
        "mpelu": {"alpha": {0.5}, "beta": {2.0}},
        "spelu": {"alpha": {0.5}},
        "elu": {},
    }[to]


def test_from_is_a_type_or_several():
    model = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 4), nn.SiLU(), nn.ReLU())
    replace_activations_(model, from_=(nn.GELU, nn.SiLU))
    assert [type(part) for part in model[1::2]] == [mpelu.MPELU, mpelu.MPELU]
    assert type(model[4]) is nn.ReLU
    replace_activations_(model, from_=mpelu.MPELU, to="elu")
    assert count(model, mpelu.ELU) == 2


@pytest.mark.parametrize("training", [True, False])
def test_the_model_keeps_its_state_its_mode_and_its_hooks(training):
    model = randomise(torchvision.models.resnet18()).train(training)
    model.bn1.eval()
    before = copy.deepcopy(model.state_dict())
    modes = {name: module.training for name, module in model.named_modules()}
    replace_activations_(model, example_input=images(64))
    assert {name: module.training for name, module in model.named_modules()} == modes
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_failing_example_leaves_the_model_as_it_was():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    with pytest.raises(RuntimeError):
        replace_activations_(model, example_input=torch.randn(2, 5))
    assert type(model[1]) is nn.ReLU
    assert all(m.training and not m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize("with_example", [True, False])
def test_the_parameters_have_the_models_dtype_and_device(with_example):
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU()).to("meta", torch.float64)
    example = torch.randn(2, 3, device="meta", dtype=torch.float64)
    replace_activations_(model, example_input=example if with_example else None)
    assert all(p.is_meta and p.dtype == torch.float64 for p in model.parameters())


def test_taylor_init_takes_the_new_activations_alpha_and_beta():
    model = nn.Sequential(nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 200))
    replace_activations_(model, alpha=0.5, beta=3.0, taylor_init=True)
    assert_slope(model[0], 1.5)
    assert_slope(model[2], 1.5)


def test_a_layer_that_taylor_init_cannot_fill_is_an_error_that_changes_nothing():
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(3, 3))
    model = nn.Sequential(layer, nn.ReLU(), nn.Linear(3, 3)).eval()
    relu = model[1]
    with pytest.raises(ValueError, match="weight of layer '0' cannot be filled"):
        replace_activations_(model, taylor_init=True)
    assert model[1] is relu
    assert not relu.training


@pytest.mark.parametrize("to", ["mpelu", "spelu", "elu"])
def test_a_converted_model_trains(to):
    input, target = images(64), torch.tensor([0, 1])
    model = timm.create_model("test_resnet", num_classes=4)
    fuse_batch_norm_(replace_activations_(model, to=to, example_input=input, taylor_init=True))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(2):
        loss = nn.functional.cross_entropy(model(input), target)
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
    assert losses[1] < losses[0]
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_an_unknown_activation_is_an_error():
    with pytest.raises(ValueError, match="to must be 'mpelu', 'spelu' or 'elu', got 'gelu'"):
        replace_activations_(nn.Sequential(nn.ReLU()), to="gelu")


@pytest.mark.parametrize(("layer", "size"), [(nn.Conv2d, (3, 8, 8)), (nn.Conv3d, (3, 8, 8, 8))])
def test_one_parameter_serves_a_convolution_without_a_batch(layer, size):
    """Its channels are in dimension 0; those of batches would be in dimension 1."""
    model = nn.Sequential(layer(3, 6, 1), nn.ReLU())
    replace_activations_(model, example_input=torch.randn(size))
    assert model[1].num_parameters == 1
    assert model(torch.randn(2, *size)).shape == (2, 6, *size[1:])


def test_a_function_that_is_only_named_like_a_convolution_is_run():
    class Convolved(nn.Sequential):
        def forward(self, input):
            return super().forward(torch.conv_tbc(input, torch.ones(1, 3, 6), torch.ones(6)))

    model = Convolved(nn.ReLU())
    replace_activations_(model, example_input=torch.randn(5, 2, 3))
    assert model[0].num_parameters == 1


@pytest.mark.parametrize("from_", [nn.ReLU(), [nn.ReLU], (nn.ReLU, "ELU"), None], ids=str)
def test_from_that_is_no_type_is_a_type_error(from_):
    with pytest.raises(TypeError, match="from_ must be a type of modules or a tuple of types, got"):
        replace_activations_(nn.Sequential(nn.ReLU()), from_=from_)


@pytest.mark.parametrize(
    ("model", "from_", "message"),
    [
        (nn.Sequential(nn.GELU()), nn.ReLU, "no ReLU module in Sequential"),
        (nn.Sequential(), (nn.ELU, nn.SiLU), "no ELU or SiLU module in Sequential"),
        (nn.ReLU(), nn.ReLU, "no ReLU module in ReLU"),
    ],
)
def test_no_activation_to_replace_is_an_error(model, from_, message):
    with pytest.raises(ValueError, match=message):
        replace_activations_(model, from_=from_)
