"""What only a GPU can show: launches, streams, graphs, devices, more than 2^31 elements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import atomic_baseline
import pytest
import torch
from cases import Case
from samples import make_values
from tolerances import SAME_IN_FLOAT32, assert_same_bits
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

import mpelu.functional as MF

pytestmark = pytest.mark.cuda

ops = torch.ops.mpelu

SHAPES = {
    "small": (2, 3, 5),
    "many rows": (64, 64, 32, 32),
    "few channels": (64, 3, 224, 224),
    "many channels": (128, 2048),
    "one channel": (1, 1, 3_000_000),
}


def arguments(
    shape: tuple[int, ...], memory_format: torch.memory_format = torch.contiguous_format
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """grad_output, input, and alpha and beta per channel."""
    tensors = [
        make_values(shape, torch.float32, seed).cuda().contiguous(memory_format=memory_format)
        for seed in (1, 0)
    ]
    parameters = [torch.linspace(*ends, shape[1], device="cuda") for ends in ((0.5, 2), (2, 0.5))]
    return (*tensors, *parameters)


def launches(function: Callable[[], object]) -> list[str]:
    """The names of what `function` puts on the GPU: kernels, copies and fills."""
    function()  # the first call may also load code
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        function()
        torch.cuda.synchronize()
    on_device = torch.autograd.DeviceType.CUDA
    return [event.name for event in profiler.events() if event.device_type == on_device]


@pytest.fixture
def profiler_works() -> None:
    x = torch.ones(3, device="cuda")
    if len(launches(x.exp)) != 1:
        pytest.skip("the profiler does not see one kernel where there is one")


@pytest.mark.usefixtures("profiler_works")
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_forward_is_one_launch_and_backward_at_most_two(shape: tuple[int, ...]) -> None:
    grad_output, x, alpha, beta = arguments(shape)
    assert len(launches(lambda: ops.elu(x, 0.5))) == 1
    assert len(launches(lambda: ops.elu_(x, 0.5))) == 1
    assert len(launches(lambda: ops.elu_backward(grad_output, x, 0.5))) == 1
    for parameters in ((alpha, beta), (alpha[:1], beta[:1]), (alpha,)):
        assert len(launches(lambda p=parameters: ops.mpelu(x, *p))) == 1
        assert len(launches(lambda p=parameters: ops.mpelu_(x, *p))) == 1
        names = launches(lambda p=parameters: ops.mpelu_backward(grad_output, x, *p))
        assert 1 <= len(names) <= 2, names


def batch_norm_arguments(x: Tensor, training: bool = True) -> tuple[object, ...]:
    """Those of ops.batch_norm_mpelu, with parameters and statistics of their own."""
    size = x.shape[1]
    weight, running_var, alpha, beta = torch.linspace(0.5, 2, 4 * size, device=x.device).view(4, -1)
    bias, running_mean = torch.linspace(-1, 1, 2 * size, device=x.device).view(2, -1)
    return x, weight, bias, running_mean, running_var, alpha, beta, training, 0.1, 1e-5


def batch_norm_backward(
    grad_output: Tensor, x: Tensor, training: bool = True
) -> tuple[Tensor, ...]:
    _, weight, bias, mean, invstd, alpha, beta, *_ = batch_norm_arguments(x)
    gradients: tuple[Tensor, ...] = ops.batch_norm_mpelu_backward(
        grad_output, x, weight, bias, mean, invstd, alpha, beta, training, 1e-5
    )
    return gradients


@pytest.mark.usefixtures("profiler_works")
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize(
    ("shape", "shorter"), [((64, 64, 32, 32), 0), ((64, 64, 4, 4), 1)], ids=["large", "small"]
)
def test_batch_norm_is_at_most_three_launches(
    shape: tuple[int, ...], shorter: int, memory_format: torch.memory_format
) -> None:
    """One less where a block has all of a channel; the statistics that are kept take one."""
    grad_output, x, *_ = arguments(shape, memory_format)
    evaluated, trained = (batch_norm_arguments(x, training) for training in (False, True))
    assert len(launches(lambda: ops.batch_norm_mpelu(*evaluated))) == 2
    names = launches(lambda: ops.batch_norm_mpelu(*trained))
    assert len(names) == 3 - shorter, names
    for training in (False, True):
        names = launches(lambda t=training: batch_norm_backward(grad_output, x, t))
        assert len(names) == 3 - shorter, names


@pytest.mark.usefixtures("profiler_works")
def test_channels_last_needs_no_copy() -> None:
    grad_output, x, alpha, beta = arguments((64, 64, 32, 32), torch.channels_last)
    assert len(launches(lambda: ops.mpelu(x, alpha, beta))) == 1
    assert 1 <= len(launches(lambda: ops.mpelu_backward(grad_output, x, alpha, beta))) <= 2


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_graph_capture_replays_the_eager_bits(shape: tuple[int, ...]) -> None:
    """Capture fails on a synchronisation, and on a launch outside of the current stream."""
    tensors = arguments(shape)

    def run() -> list[Tensor]:
        grad_output, x, alpha, beta = tensors
        gradients = ops.mpelu_backward(grad_output, x, alpha, beta)
        activated = [ops.mpelu(x, alpha, beta), ops.elu(x, 0.5)]
        in_place = [ops.mpelu_(x.clone(), alpha, beta), ops.elu_(x.clone(), 0.5)]
        elu_gradient = ops.elu_backward(grad_output, x, 0.5)
        normalised = ops.batch_norm_mpelu(*batch_norm_arguments(x))
        return [
            *(*gradients, *activated, *in_place, elu_gradient),
            *(*normalised, *batch_norm_backward(grad_output, x)),
        ]

    expected = run()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = run()
    for _ in range(2):
        graph.replay()
        for actual, value in zip(captured, expected, strict=True):
            assert_same_bits(actual, value)


def differentiated(grad_output: Tensor, x: Tensor, alpha: Tensor, beta: Tensor) -> Iterator[Tensor]:
    """The outputs of the activations and of batch norm, and their gradients, by autograd."""
    leaves = [tensor.detach().requires_grad_() for tensor in (x, alpha, beta)]
    mean, variance = torch.zeros_like(alpha), torch.ones_like(alpha)
    for function, inputs in (
        (MF.elu, leaves[:1]),
        (MF.mpelu, leaves),
        (lambda x, *rest: MF.batch_norm_mpelu(x, mean, variance, *rest, training=True), leaves),
    ):
        output = function(*inputs)
        yield from (output, *torch.autograd.grad(output, inputs, grad_output))
    yield from (mean, variance)


def test_runs_in_the_current_stream() -> None:
    tensors = arguments((64, 64, 32, 32))
    expected = list(differentiated(*(tensor.exp().log() for tensor in tensors)))
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(100_000_000)  # what follows in another stream would not wait for it
        late = [tensor.exp().log() for tensor in tensors]
        actual = list(differentiated(*late))
    stream.synchronize()
    for value, wanted in zip(actual, expected, strict=True):
        assert_same_bits(value, wanted)


def test_runs_on_the_device_of_its_input() -> None:
    """From the first device, on the last: another one where there are several."""
    last = torch.device("cuda", torch.cuda.device_count() - 1)
    tensors = [tensor.to(last) for tensor in arguments((4, 3, 31))]

    def run() -> list[Tensor]:
        grad_output, x, alpha, beta = tensors
        return [
            *ops.mpelu_backward(grad_output, x, alpha, beta),
            *ops.batch_norm_mpelu(*batch_norm_arguments(x)),
            *batch_norm_backward(grad_output, x),
        ]

    with torch.cuda.device(last):
        expected = run()
    with torch.cuda.device(0):
        for actual, value in zip(run(), expected, strict=True):
            assert actual.device == last
            assert_same_bits(actual, value)
        assert ops.mpelu(*tensors[1:]).device == last
        assert torch.cuda.current_device() == 0


@contextmanager
def waiting_is_an_error() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_nothing_waits_for_the_gpu(memory_format: torch.memory_format) -> None:
    grad_output, *tensors = arguments((8, 3, 31, 33), memory_format)
    with waiting_is_an_error(), pytest.raises(RuntimeError, match="synchronizing"):
        grad_output[0, 0, 0, 0].item()
    for dtype in (torch.float32, torch.bfloat16):
        x, alpha, beta = (tensor.to(dtype).requires_grad_() for tensor in tensors)
        scalar = torch.ones((), device="cuda", requires_grad=True)
        with waiting_is_an_error():
            MF.mpelu(x, alpha, beta).backward(grad_output.to(dtype))
            MF.mpelu(x, scalar, beta).backward(grad_output.to(dtype))
            MF.spelu(x, alpha).backward(grad_output.to(dtype))
            MF.elu(x, 0.5).backward(grad_output.to(dtype))
            mean, variance = torch.zeros(3, device="cuda"), torch.ones(3, device="cuda")
            for training in (True, False):
                output = MF.batch_norm_mpelu(x, mean, variance, alpha, beta, training=training)
                output.backward(grad_output.to(dtype))


@pytest.mark.parametrize(
    ("shape", "dim"), [((3, 2**30 + 5), 0), ((2**27 + 1, 24), 1)], ids=["rows", "columns"]
)
def test_more_elements_than_an_int_counts(shape: tuple[int, int], dim: int) -> None:
    """bfloat16: more than 6 GB each for input, output and gradient."""
    if torch.cuda.mem_get_info()[0] < 40 * 2**30:
        pytest.skip("less than 40 GiB of free GPU memory")
    along = 1 - dim
    count = shape[along] - 1
    x = torch.full(shape, -1.0, dtype=torch.bfloat16, device="cuda")
    x.select(along, count).fill_(2.0)
    alpha = torch.linspace(0.5, 2.0, shape[dim], device="cuda")

    def check(actual: Tensor, expected: Tensor) -> None:
        """expected is what the last two elements along the channels are to be."""
        assert_same_bits(actual.narrow(along, count - 1, 2), expected)
        assert bool((actual.narrow(along, 0, count) == expected.narrow(along, 0, 1)).all())

    few = x.narrow(along, count - 1, 2).contiguous()
    check(ops.mpelu(x, alpha, None, dim), ops.mpelu(few, alpha, None, dim))
    check(ops.elu(x, 0.5), ops.elu(few, 0.5))
    check(ops.elu_backward(x, x, 0.5, False), ops.elu_backward(few, few, 0.5, False))
    grad_input, grad_alpha, _ = ops.mpelu_backward(x, x, alpha, None, dim)
    check(grad_input, ops.mpelu_backward(few, few, alpha, None, dim)[0])

    def normalised(tensor: Tensor) -> list[Tensor]:
        """The output of a batch norm in evaluation and the gradient of its input."""
        batch = tensor.unsqueeze(0) if dim == 0 else tensor
        output, *saved = ops.batch_norm_mpelu(
            batch, None, None, alpha, alpha, alpha, None, False, 0.1, 1e-5
        )
        grad_input, *_ = ops.batch_norm_mpelu_backward(
            batch, batch, None, None, *saved, alpha, None, False, 1e-5
        )
        return [output.view_as(tensor), grad_input.view_as(tensor)]

    for actual, expected in zip(normalised(x), normalised(few), strict=True):
        check(actual, expected)
    # equal terms round the same way: the sums of float32 are that far from random
    expected = torch.full_like(grad_alpha, -torch.expm1(torch.tensor(-1.0)).item() * count)
    torch.testing.assert_close(grad_alpha, expected, rtol=1e-3, atol=0)


def test_the_atomic_baseline_has_the_same_gradients() -> None:
    """What a bar compares is the time of the same work."""
    from torch.utils import cpp_extension  # where there is no GPU, the import warns of it

    if cpp_extension.CUDA_HOME is None or not cpp_extension.is_ninja_available():
        pytest.skip("torch finds no nvcc or no ninja to compile it with")
    inputs = Case((8, 3, 10, 10), device="cuda").inputs()
    # Sums so small that the order of their terms is lost in the tolerance.
    scaled = replace(inputs, grad_output=inputs.grad_output / 64)
    with torch.no_grad():
        actual = atomic_baseline.backward(scaled)
        expected = ops.mpelu_backward(scaled.grad_output, scaled.x, scaled.alpha, scaled.beta)
    torch.testing.assert_close(actual, expected, **SAME_IN_FLOAT32)
