"""mpelu.autograd.recompute_activations: less is kept, and nothing else is different."""

from __future__ import annotations

import contextlib
import copy
import re
import weakref
from collections.abc import Callable

import pytest
import torch
from samples import DTYPES, LAYOUTS, make_values
from tolerances import assert_same_bits
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

import mpelu
from mpelu.autograd import recompute_activations

CHANNELS = 3
SHAPES = {1: (12,), 2: (4, CHANNELS), 3: (4, CHANNELS, 7), 4: (2, CHANNELS, 4, 5)}

#: By name, what makes the activation from a device and a dtype of its parameters.
#: By the rank of the input.
BATCH_NORMS = {2: mpelu.BatchNormMPELU1d, 3: mpelu.BatchNormMPELU1d, 4: mpelu.BatchNormMPELU2d}
ACTIVATIONS: dict[str, Callable[..., nn.Module]] = {
    "elu": lambda rank, **_: mpelu.ELU(0.5),
    "spelu": lambda rank, **options: mpelu.SPELU(CHANNELS, alpha=-0.5, **options),
    "mpelu": lambda rank, **options: mpelu.MPELU(CHANNELS, 0.5, -1.5, **options),
    "one mpelu for all": lambda rank, **options: mpelu.MPELU(1, 0.5, 1.5, **options),
    "batch norm": lambda rank, **options: BATCH_NORMS[rank](CHANNELS, 0.5, 1.5, **options),
    "batch norm, evaluation": lambda rank, **options: BATCH_NORMS[rank](CHANNELS, **options).eval(),
    "batch norm, neither affine nor tracked": lambda rank, **options: BATCH_NORMS[rank](
        CHANNELS, beta=None, affine=False, track_running_stats=False, **options
    ),
}
every_activation = pytest.mark.parametrize("activation", ACTIVATIONS)
learned = pytest.mark.parametrize("activation", ["mpelu", "batch norm", "batch norm, evaluation"])


def make(
    activation: str, device: torch.device, dtype: torch.dtype = torch.float32, rank: int = 3
) -> nn.Module:
    return ACTIVATIONS[activation](rank, device=device, dtype=dtype)


def make_input(device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    return make_values(SHAPES[3], dtype).to(device).requires_grad_()


def storage_of(tensor: Tensor) -> weakref.ref:
    """Dead as soon as nothing keeps the tensor's memory any more."""
    return weakref.ref(tensor.untyped_storage())


def product(activation: nn.Module, x: Tensor, factor: Tensor) -> Tensor:
    """The multiplication keeps the activation's output, which is the gradient of `factor`."""
    return activation(x) * factor


@every_activation
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if LAYOUTS[name].ranks[0] <= 4])
def test_gradients_are_the_same_to_the_bit(activation, device, dtype, layout):
    rank = max(rank for rank in LAYOUTS[layout].ranks if rank in SHAPES)
    values = make_values(SHAPES[rank], dtype).to(device)
    module = make(activation, device, dtype, rank)

    def gradients(context: contextlib.AbstractContextManager[None]) -> list[Tensor]:
        own = copy.deepcopy(module)
        x = LAYOUTS[layout].arrange(values.clone()).detach().requires_grad_()
        factor = torch.ones_like(x).requires_grad_()
        with context:
            output = product(own, x, factor)
        output.sum().backward()
        return [x.grad, factor.grad, *(p.grad for p in own.parameters()), *own.buffers()]

    expected = gradients(contextlib.nullcontext())
    for actual, one in zip(gradients(recompute_activations()), expected, strict=True):
        assert_same_bits(actual, one)


@every_activation
def test_an_output_that_the_next_layer_keeps_is_freed(activation, device):
    module, x = make(activation, device), make_input(device)
    factor = torch.ones_like(x).requires_grad_()

    def is_kept(context: contextlib.AbstractContextManager[None]) -> bool:
        with context:
            activated = module(x)
            storage = storage_of(activated)
            output = activated * factor
            del activated
        assert output.requires_grad
        return storage() is not None

    assert is_kept(contextlib.nullcontext())
    assert not is_kept(recompute_activations())


@every_activation
def test_a_view_of_an_output_is_computed_again(activation, device):
    module, x = make(activation, device), make_input(device)
    factor = torch.ones(10, CHANNELS, device=device, requires_grad=True)
    with recompute_activations():
        activated = module(x)
        expected = activated.detach()[:, :, 1:6:2].transpose(1, 2)[1:].reshape(-1, CHANNELS).sum()
        view = activated[1:, :, 1:6:2].transpose(1, 2)
        storage = storage_of(activated)
        del activated
        output = view * factor[:9].view(3, 3, CHANNELS)
        del view
    assert storage() is None
    output.sum().backward()
    torch.testing.assert_close(factor.grad.sum(), expected)


@every_activation
def test_of_activations_in_a_row_no_output_is_kept(activation, device):
    module, x = make(activation, device), make_input(device)
    factor = torch.ones_like(x).requires_grad_()

    def run(context: contextlib.AbstractContextManager[None]) -> tuple[int, tuple[Tensor, ...]]:
        """How many of three outputs are kept, and the gradients."""
        own = copy.deepcopy(module)
        storages = []
        with context:
            activated = x
            for _ in range(3):
                activated = own(activated)
                storages.append(storage_of(activated))
            output = activated * factor
            del activated
        kept = sum(storage() is not None for storage in storages)
        return kept, torch.autograd.grad(output.sum(), [x, factor, *own.parameters()])

    kept, expected = run(contextlib.nullcontext())
    recomputed, actual = run(recompute_activations())
    assert (kept, recomputed) == (3, 0)
    for gradient, one in zip(actual, expected, strict=True):
        assert_same_bits(gradient, one)


@learned
def test_running_statistics_move_once(activation, device):
    module = make(activation, device)
    expected = copy.deepcopy(module)
    x = make_input(device)
    factor = torch.ones_like(x).requires_grad_()
    expected(x)
    with recompute_activations():
        output = product(module, x, factor)
    output.sum().backward()
    for actual, one in zip(module.buffers(), expected.buffers(), strict=True):
        assert_same_bits(actual, one)


@every_activation
def test_second_derivatives_are_the_same_to_the_bit(activation, device):
    module = make(activation, device, torch.float64)
    x = make_input(device, torch.float64)
    factor = torch.ones_like(x).requires_grad_()
    inputs = [x, factor, *module.parameters()]

    def gradients(context: contextlib.AbstractContextManager[None]) -> tuple[Tensor, ...]:
        with context:
            output = product(module, x, factor).square().sum()
        first = torch.autograd.grad(output, inputs, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), inputs)

    expected = gradients(contextlib.nullcontext())
    for actual, one in zip(gradients(recompute_activations()), expected, strict=True):
        assert_same_bits(actual, one)


def test_a_retained_graph_goes_backward_twice(device):
    module, x = make("batch norm", device), make_input(device)
    factor = torch.ones_like(x).requires_grad_()
    with recompute_activations():
        output = product(module, x, factor).sum()
    first = torch.autograd.grad(output, factor, retain_graph=True)
    assert_same_bits(*torch.autograd.grad(output, factor), *first)


@pytest.mark.parametrize("change", ["before", "after"])
def test_an_output_modified_in_place_has_the_value_it_was_used_with(change, device):
    x = make_input(device)
    factor = torch.ones_like(x).requires_grad_()
    with recompute_activations():
        activated = mpelu.functional.elu(x)
        if change == "before":
            activated.mul_(2)
        expected = activated.detach().clone()
        output = activated * factor
    if change == "after":
        with torch.no_grad():
            activated.mul_(2)
    output.sum().backward()
    assert_same_bits(factor.grad, expected)


def test_memory_that_is_used_again_is_not_taken_for_the_output(device):
    """Each round's tensors get the memory of the round before, outputs and others in turns."""
    x = make_input(device)
    factors = [torch.ones_like(x).requires_grad_() for _ in range(8)]
    expected, outputs = [], []
    with recompute_activations():
        for turn, factor in enumerate(factors):
            kept = mpelu.functional.elu(x) if turn % 2 else x * 2
            expected.append(kept.detach().clone())
            outputs.append((kept * factor).sum())
            del kept
    sum(outputs).backward()
    for factor, value in zip(factors, expected, strict=True):
        assert_same_bits(factor.grad, value)


def test_memory_of_an_output_whose_data_was_set_is_not_taken_for_the_output(device):
    """As pipeline parallelism frees what it has sent, while the tensor itself lives on."""
    x = make_input(device)
    factors = [torch.ones_like(x).requires_grad_() for _ in range(8)]
    with recompute_activations():
        activated = mpelu.functional.elu(x)
        doubled = activated * 2
        activated.data = torch.empty(1, device=device)
        others = [doubled.sin() for _ in factors]
        output = sum((other * factor).sum() for other, factor in zip(others, factors, strict=True))
    output.backward()
    for factor in factors:
        assert_same_bits(factor.grad, doubled.detach().sin())


@learned
@pytest.mark.parametrize("what", ["input", "parameter", "another tensor"])
def test_the_backward_refuses_what_was_modified_in_place(activation, what, device):
    module = make(activation, device)
    x = make_input(device) * 1
    factor = torch.ones_like(x).requires_grad_()
    with recompute_activations():
        output = product(module, x, factor)
    changed = {"input": x, "parameter": module.alpha, "another tensor": factor}[what]
    shape, before = list(changed.shape), changed._version
    with torch.no_grad():
        changed.add_(1)
    message = f"FloatTensor {shape} is at version {before + 1}; expected version {before}"
    with pytest.raises(RuntimeError, match=re.escape(message)):
        output.sum().backward()


def test_without_gradients_nothing_is_held(device):
    module, x = make("batch norm", device), make_input(device)
    with recompute_activations():
        with torch.no_grad():
            given = x * 1
            output = module(given)
        storage = storage_of(given)
        del given
        assert storage() is None
    assert not output.requires_grad


@pytest.mark.parametrize("inside", [True, False], ids=["inside", "after"])
def test_an_output_holds_its_input_only_as_its_graph_does(inside, device):
    x = make_input(device)
    with recompute_activations() if inside else contextlib.nullcontext():
        given = x * 1
        storage = storage_of(given)
        with contextlib.nullcontext() if inside else recompute_activations():
            output = mpelu.functional.elu(given)
        output.sum().backward()
        del given
        if inside:
            del output
        assert storage() is None


@pytest.mark.parametrize(
    "own_output",
    [torch.sigmoid, torch.exp, mpelu.ELU(inplace=True)],
    ids=["sigmoid", "exp", "elu_"],
)
def test_a_graph_without_a_backward_is_freed(own_output, device):
    """Also where an operator saves its own output, by which a hook could keep it alive."""
    x = make_input(device)
    with recompute_activations():
        output = own_output(mpelu.functional.elu(x) + 1)
    storage = storage_of(output)
    del output
    assert storage() is None


def test_a_saved_tensor_may_be_sparse(device):
    matrix = torch.eye(CHANNELS, device=device).to_sparse()
    x = make_values(SHAPES[2], torch.float32).T.to(device).requires_grad_()
    with recompute_activations():
        output = torch.sparse.mm(matrix, mpelu.functional.elu(x))
    (actual,) = torch.autograd.grad(output.sum(), x)
    (expected,) = torch.autograd.grad(mpelu.functional.elu(x).sum(), x)
    torch.testing.assert_close(actual, expected)


def test_it_is_a_decorator_too(device):
    module, x = make("mpelu", device), make_input(device)
    factor = torch.ones_like(x).requires_grad_()
    expected = module(x).detach()
    recompute_activations()(product)(module, x, factor).sum().backward()
    assert_same_bits(factor.grad, expected)


def test_operators_by_overload_and_keywords(device):
    x = make_input(device)
    alpha = torch.full((1,), 0.5, device=device)
    calls = (
        lambda: torch.ops.mpelu.elu.default(x, alpha=0.5),
        lambda: torch.ops.mpelu.mpelu(alpha=alpha, input=x, dim=-1),
    )
    for call in calls:
        with recompute_activations():
            activated = call()
            expected, storage = activated.detach().clone(), storage_of(activated)
            factor = torch.ones_like(x).requires_grad_()
            output = activated * factor
            del activated
        assert storage() is None
        output.sum().backward()
        assert_same_bits(factor.grad, expected)


@pytest.mark.parametrize("fused", [True, False])
def test_a_residual_network_keeps_no_output_and_learns_the_same(fused):
    images, labels = torch.randn(4, 3, 16, 16), torch.arange(4)
    start = mpelu.models.mpelu_resnet(20, 10, fused=fused)

    def train(context: Callable[[], contextlib.AbstractContextManager[None]]) -> tuple[dict, int]:
        """The state after three steps, and how many activations' outputs the last one kept."""
        model = copy.deepcopy(start)
        outputs: list[weakref.ref] = []
        for module in model.modules():
            if isinstance(module, (mpelu.MPELU, mpelu.nn.BatchNormMPELU)):
                module.register_forward_hook(lambda *call: outputs.append(storage_of(call[-1])))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for _ in range(3):
            outputs.clear()
            with context():
                loss = nn.functional.cross_entropy(model(images), labels)
            kept = sum(output() is not None for output in outputs)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        return model.state_dict(), kept

    (expected, kept), (actual, recomputed) = (
        train(contextlib.nullcontext),
        train(recompute_activations),
    )
    assert (kept, recomputed) == (1 + 2 * 6, 0)
    for name, value in actual.items():
        assert_same_bits(value, expected[name], name)


def test_compiled_functions_work_inside(device):
    torch._dynamo.reset()
    module, x = make("mpelu", device), make_input(device)
    factor = torch.ones_like(x).requires_grad_()
    expected = module(x).detach()
    compiled = torch.compile(product, backend="aot_eager", fullgraph=True)
    with recompute_activations():
        output = compiled(module, x, factor)
    output.sum().backward()
    assert_same_bits(factor.grad, expected)
    torch._dynamo.reset()


def test_checkpointing_works_inside(device):
    module, x = make("mpelu", device), make_input(device)
    factor = torch.ones_like(x).requires_grad_()
    expected = module(x).detach()
    for use_reentrant in (False, True):
        factor.grad = None
        with recompute_activations():
            output = torch.utils.checkpoint.checkpoint(
                product, module, x, factor, use_reentrant=use_reentrant
            )
        output.sum().backward()
        assert_same_bits(factor.grad, expected)


def test_the_innermost_hooks_decide(device):
    seen = []
    x = make_input(device)
    with recompute_activations(), saved_tensors_hooks(lambda t: seen.append(t) or t, lambda t: t):
        output = mpelu.functional.elu(x) * x
    output.sum().backward()
    assert seen
    seen.clear()
    with saved_tensors_hooks(lambda t: seen.append(t) or t, lambda t: t), recompute_activations():
        output = mpelu.functional.elu(x) * x
    output.sum().backward()
    assert not seen
