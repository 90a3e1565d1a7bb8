"""BatchNormMPELU1d, 2d and 3d are torch's batch norm and MPELU in one."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

import mpelu

MODULES = {
    "1d": (mpelu.BatchNormMPELU1d, nn.BatchNorm1d, (6, 3, 5)),
    "2d": (mpelu.BatchNormMPELU2d, nn.BatchNorm2d, (6, 3, 5, 4)),
    "3d": (mpelu.BatchNormMPELU3d, nn.BatchNorm3d, (6, 3, 5, 4, 2)),
}


@pytest.mark.parametrize("rank", MODULES)
@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("tracked", [True, False])
def test_module_trains_and_evaluates_like_the_pair(rank, momentum, tracked, device):
    fused_class, plain_class, shape = MODULES[rank]
    settings = {"momentum": momentum, "track_running_stats": tracked, "device": device}
    module = fused_class(3, alpha=0.25, beta=1.5, **settings)
    reference = nn.Sequential(
        plain_class(3, **settings), mpelu.MPELU(3, alpha=0.25, beta=1.5, device=device)
    )
    for _ in range(3):
        x = torch.randn(shape, device=device) * 2 + 1
        torch.testing.assert_close(module(x), reference(x))
    module.eval()
    reference.eval()
    torch.testing.assert_close(module(x), reference(x))
    # The state dict has the pair's tensors under the names of its two halves.
    state = module.state_dict()
    halves = {**reference[0].state_dict(), **reference[1].state_dict()}
    assert state.keys() == halves.keys()
    for name, value in halves.items():
        torch.testing.assert_close(state[name], value, msg=name)
    other = fused_class(3, **settings)
    other.load_state_dict(halves)
    torch.testing.assert_close(other.eval()(x), reference(x))


def test_module_is_copied_pickled_and_moved():
    module = mpelu.BatchNormMPELU2d(3, beta=None, num_parameters=1)
    x = torch.randn(4, 3, 2, 2)
    expected = module.eval()(x)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(other(x), expected)
    assert "beta" not in module.state_dict()
    assert module.double()(x.double()).dtype == torch.float64
    assert "beta=None, num_parameters=1" in repr(module)


@pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated")
@pytest.mark.parametrize("rank", MODULES)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"beta": None},
        {"num_parameters": 1},
        {"affine": False},
        {"momentum": None},
        {"track_running_stats": False},
    ],
    ids=str,
)
def test_scripted_module_trains_and_evaluates_the_same(rank, settings):
    cls, _, shape = MODULES[rank]
    module = cls(3, alpha=0.25, **settings)
    scripted = torch.jit.script(copy.deepcopy(module))
    for training in (True, True, False):
        x = torch.randn(shape)
        assert torch.equal(scripted.train(training)(x), module.train(training)(x))
    for name, value in module.state_dict().items():
        assert torch.equal(scripted.state_dict()[name], value), name
    with pytest.raises(torch.jit.Error, match="got 1D input"):
        scripted(torch.randn(3))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_gives_and_learns_what_the_pair_does(training, dtype, device):
    """Half activations stay half, beside float32 parameters; a float32 input stays float32."""
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 8, 3, device=device)
    module = mpelu.BatchNormMPELU2d(8, alpha=0.25, beta=1.5, device=device)
    halves = nn.BatchNorm2d(8, device=device), mpelu.MPELU(8, alpha=0.25, beta=1.5, device=device)
    x = torch.randn(4, 3, 9, 9, device=device)
    results = []
    for part in (module.train(training), nn.Sequential(*halves).train(training)):
        with torch.autocast(device.type, dtype):
            output = part(conv(x))
            assert part(conv(x).float()).dtype == torch.float32
        output.float().square().sum().backward()
        results.append([output, *(p.grad for p in part.parameters()), conv.weight.grad])
        conv.weight.grad = None
    assert results[0][0].dtype == dtype
    for actual, expected in zip(*results, strict=True):
        assert actual.dtype == expected.dtype
        # The pair rounds what is normalised, and its gradient, to the half type on the way.
        error = (actual - expected).float().norm() / expected.float().norm()
        assert error < 2 * torch.finfo(dtype).eps


def test_synchronised_batch_norm_does_not_swallow_the_activation():
    module = nn.Sequential(mpelu.BatchNormMPELU2d(3))
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(module)
    assert isinstance(converted[0], mpelu.BatchNormMPELU2d)


def test_parameter_groups_know_the_fused_module():
    module = mpelu.BatchNormMPELU2d(3)
    others, activations = mpelu.optim.param_groups(module, lr=0.1, weight_decay=1e-4)
    assert [id(p) for p in others["params"]] == [id(module.weight), id(module.bias)]
    assert [id(p) for p in activations["params"]] == [id(module.alpha), id(module.beta)]


def test_only_the_input_is_saved_of_all_tensors_of_its_size(device):
    module = mpelu.BatchNormMPELU2d(4).to(device)
    x = torch.randn(8, 4, 6, 6, device=device, requires_grad=True)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        module(x)
    assert [t.data_ptr() for t in saved if t.numel() >= x.numel()] == [x.data_ptr()]


def test_bad_arguments_of_the_modules_are_named_in_one_error():
    x = torch.randn(4, 3, 2, 2)
    with pytest.raises(ValueError, match="more than 1 value"):
        mpelu.BatchNormMPELU2d(3)(x[:1, :, :1, :1])
    with pytest.raises(ValueError, match="expected 4D input"):
        mpelu.BatchNormMPELU2d(3)(x[0])
    with pytest.raises(ValueError, match="num_parameters must be 1 or num_features"):
        mpelu.BatchNormMPELU2d(3, num_parameters=2)


def test_batches_that_are_not_tracked_do_not_count():
    """track_running_stats may be set later on, as in adversarial training."""
    x = torch.randn(6, 8, 3)
    modules = [kind(3, momentum=None) for kind in (torch.nn.BatchNorm1d, mpelu.BatchNormMPELU1d)]
    for module in modules:
        for turn, batch in enumerate(x):
            module.track_running_stats = turn % 2 == 0
            module(batch)
    expected, actual = modules
    assert actual.num_batches_tracked == expected.num_batches_tracked == 3
    torch.testing.assert_close(actual.running_mean, expected.running_mean)


@pytest.mark.parametrize("retraced", [False, True])
@pytest.mark.parametrize("training", [True, False])
def test_what_torch_fx_traces_is_in_the_mode_it_is_put_in(training, retraced):
    """As with torch's own batch norms, whatever the mode was when it was traced."""
    model = mpelu.models.mpelu_resnet(11, num_classes=3).train(training)
    traced = torch.fx.symbolic_trace(copy.deepcopy(model))
    if retraced:
        traced = pickle.loads(pickle.dumps(torch.fx.symbolic_trace(traced)))
    x = torch.randn(4, 3, 8, 8)
    for mode in (training, not training, training):
        assert torch.equal(traced.train(mode)(x), model.train(mode)(x))
        state = traced.state_dict()
        assert state.keys() == model.state_dict().keys()
        for name, value in model.state_dict().items():
            assert torch.equal(state[name], value), name
    with pytest.raises(ValueError, match="expected 4D input"):
        traced(x[0])


def test_no_element_is_no_error():
    module = mpelu.BatchNormMPELU2d(3)
    output = module(torch.empty(0, 3, 4, 4, requires_grad=True))
    output.sum().backward()
    assert output.shape == (0, 3, 4, 4)
    assert module.running_mean.eq(0).all()
