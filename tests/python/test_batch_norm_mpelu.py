"""batch_norm_mpelu equals torch's batch norm followed by the activation."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch
from batch_norm_samples import (
    EPS,
    KINDS,
    LAYOUTS,
    MOMENTUM,
    SHAPES,
    Arguments,
    fused,
    make_arguments,
    pair,
    with_gradients,
)
from samples import DTYPES, HALF_DTYPES
from tolerances import SAME_IN_FLOAT64
from torch import Tensor

import mpelu.functional as MF

ops = torch.ops.mpelu


def cases() -> Iterator[tuple[str, Arguments]]:
    for shape, kind in itertools.product(SHAPES, KINDS):
        for shared in (False, True):
            yield f"{shape} {kind} {shared=}", make_arguments(shape, kind, shared)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_values_gradients_and_running_statistics_are_those_of_the_pair(layout, device):
    for name, arguments in cases():
        a = arguments._replace(input=LAYOUTS[layout](arguments.input)).to(device)
        grad_output = torch.randn_like(a.input)
        for actual, expected in zip(
            with_gradients(fused, a, grad_output), with_gradients(pair, a, grad_output), strict=True
        ):
            # Sums of some thousand terms of the order of the largest.
            scale = 1 + expected.abs().max().item()
            torch.testing.assert_close(
                actual / scale,
                expected / scale,
                **SAME_IN_FLOAT64,
                msg=lambda m, n=name: f"{n}: {m}",
            )
        # What is kept as it lies: contiguous and channels last.
        if layout != "strided":
            assert fused(a).stride() == a.input.stride()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("training", [True, False])
def test_narrow_dtypes_are_as_near_to_float64_as_the_pair(dtype, training, device):
    for shape in ((64, 32, 5, 5), (8, 40, 17, 17), (300, 64)):
        exact = make_arguments(shape, (training, True, True, True))
        # Running statistics near the input's, and no exponential that grows.
        exact = exact._replace(running_mean=exact.running_mean + 7, beta=exact.beta.abs() + 0.1)
        narrow = exact.to(torch.float32)._replace(input=exact.input.to(dtype)).to(device)
        exact = narrow.to(torch.float64)
        grad_output = torch.randn(shape, dtype=torch.float64, device=device).to(dtype)
        expected = with_gradients(pair, exact, grad_output.double())
        ours = with_gradients(fused, narrow, grad_output)
        theirs = with_gradients(pair, narrow, grad_output)
        for actual, unfused, truth in zip(ours, theirs, expected, strict=True):
            assert actual.dtype == unfused.dtype

            def error(tensor: Tensor, truth: Tensor = truth) -> float:
                return (tensor.double() - truth).abs().max().item()

            # Or at the level of rounding: of the dtype, and of 64 terms that are summed up in it.
            rounding = torch.finfo(actual.dtype).eps * truth.abs().max().item()
            assert error(actual) <= max(1.5 * error(unfused), 8 * rounding)


@pytest.mark.parametrize("dtype", HALF_DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_half_outputs_are_rounded_once(kind, layout, dtype, device):
    for shape in ((64, 32, 5, 5), (8, 40, 17, 17), (8, 3, 7)):
        exact = make_arguments(shape, kind)
        # Running statistics near the input's, and no exponentials that grow beyond all others.
        if exact.running_mean is not None:
            exact = exact._replace(running_mean=exact.running_mean + 7)
        if exact.beta is not None:
            exact = exact._replace(beta=0.3 * exact.beta)
        narrow = exact.to(torch.float32)._replace(input=LAYOUTS[layout](exact.input.to(dtype)))
        narrow = narrow.to(device)
        truth = pair(narrow.to(torch.float64))
        distance = torch.finfo(dtype).eps * 2.0 ** truth.abs().log2().floor()
        # Beside half a unit the errors of float32, of sums and of the difference to the mean.
        allowed = 0.501 * distance + 1e-6 * truth.abs().max()
        assert ((fused(narrow).double() - truth).abs() <= allowed).all(), (shape, kind)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind[0]])
def test_the_operator_for_evaluation_is_the_other_one_to_the_bit(kind, dtype, device):
    a = make_arguments((8, 3, 5, 7), kind).to(torch.promote_types(dtype, torch.float32)).to(device)
    a = a._replace(input=a.input.to(dtype))
    grad_output = torch.randn_like(a.input)

    def for_evaluation(a: Arguments) -> Tensor:
        return ops.batch_norm_mpelu_evaluation(*a[:-1], EPS)[0]

    for actual, expected in zip(
        with_gradients(for_evaluation, a, grad_output),
        with_gradients(fused, a, grad_output),
        strict=True,
    ):
        assert torch.equal(actual, expected)


# 16 MiB and more, written past the caches: channels that each are a part of their own, channels
# last, and columns that end within lines of memory.
LARGE = {
    "rows": ((32, 67, 32, 33), torch.contiguous_format),
    "channels last": ((32, 67, 32, 33), torch.channels_last),
    "columns": ((33, 1343, 7, 7), torch.contiguous_format),
}


@pytest.mark.parametrize("name", LARGE)
def test_a_large_tensor_is_that_of_the_pair(name, device):
    shape, memory_format = LARGE[name]
    a = make_arguments(shape)
    a = a._replace(input=a.input.contiguous(memory_format=memory_format)).to(device)
    grad_output = torch.randn_like(a.input)
    for training in (True, False):
        a = a._replace(training=training)
        for actual, expected in zip(
            with_gradients(fused, a, grad_output), with_gradients(pair, a, grad_output), strict=True
        ):
            scale = 1 + expected.abs().max().item()
            torch.testing.assert_close(actual / scale, expected / scale, **SAME_IN_FLOAT64)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_parameters_and_statistics_of_any_strides(dtype, device):
    a = make_arguments((6, 8, 9)).to(dtype).to(device)
    grad_output = torch.randn_like(a.input)

    def spread(tensor: Tensor) -> Tensor:
        return torch.stack([tensor, torch.full_like(tensor, torch.nan)], dim=-1)[:, 0]

    strided = Arguments(*(spread(t) if isinstance(t, Tensor) and t.dim() == 1 else t for t in a))
    inputs = [t.requires_grad_() for t in strided.differentiable()]
    output = fused(strided)
    gradients = torch.autograd.grad(output, inputs, grad_output)
    actual = [output, *gradients, strided.running_mean, strided.running_var]
    for value, expected in zip(actual, with_gradients(fused, a, grad_output), strict=True):
        assert torch.equal(value, expected)


def test_what_lies_past_the_end_adds_nothing_to_the_gradients(device):
    # There e^(beta bias) would be infinite.
    x = torch.full((2, 1, 3, 3), 200.0, device=device, requires_grad=True)
    zero, one = torch.zeros(1, device=device), torch.ones(1, device=device)
    parameters = [t.clone().requires_grad_() for t in (one, -100 * one, one, -one)]
    weight, bias, alpha, beta = parameters
    y = ops.batch_norm_mpelu(x, weight, bias, zero, one, alpha, beta, False, 0.1, 0.0)[0]
    gradients = torch.autograd.grad(y.sum(), parameters)
    assert [gradient.item() for gradient in gradients] == [3600.0, 18.0, 0.0, 0.0]


def test_a_half_gradient_overflows_only_where_that_of_the_input_does(device):
    # With respect to the normalised value it is 60000 * 4 / e in the lower half.
    x = torch.tensor([-1000.0, 1000.0], device=device).repeat(8).view(16, 1).half()
    grad_output = torch.full_like(x, 6e4)
    one = torch.ones(1, device=device)
    a = Arguments(x, one, -2 * one, None, None, 4 * one, one, True)
    grad_input = with_gradients(fused, a, grad_output)[1]
    expected = with_gradients(pair, a.to(torch.float64), grad_output.double())[1]
    torch.testing.assert_close(grad_input.double(), expected, rtol=4e-3, atol=0.1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(64, 5), (16, 5, 40), (4, 5, 6, 7), (2, 5, 6, 3, 4)], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_statistics_of_half_types_are_not_rounded_to_them(layout, shape, dtype, device):
    torch.manual_seed(0)
    x = LAYOUTS[layout]((torch.randn(shape) + 100).to(dtype)).to(device)
    channels = x.movedim(1, 0).flatten(1).double()
    running_mean, running_var, alpha = torch.ones(3, 5, device=device)
    _, mean, invstd = ops.batch_norm_mpelu(
        x, None, None, running_mean, running_var, alpha, None, True, MOMENTUM, EPS
    )
    torch.testing.assert_close(mean.double(), channels.mean(1), rtol=1e-6, atol=0)
    expected = (channels.var(1, correction=0) + EPS).rsqrt()
    torch.testing.assert_close(invstd.double(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_an_infinite_input_has_the_gradient_of_its_branch_in_evaluation(dtype, device):
    x = torch.tensor([[-torch.inf], [torch.inf], [1.0]], dtype=dtype, device=device)
    zero, one = torch.zeros(1, device=device), torch.ones(1, device=device)
    zero, one = (t.to(torch.float32 if dtype == torch.float16 else dtype) for t in (zero, one))
    x.requires_grad_()
    output = MF.batch_norm_mpelu(x, zero, one, one, eps=0.0)
    assert output.flatten().tolist() == [-1.0, torch.inf, 1.0]
    output.backward(torch.ones_like(x))
    assert x.grad.flatten().tolist() == [0.0, 1.0, 1.0]


@pytest.mark.parametrize("scale", [1e-14, 1e14])
def test_gradients_survive_a_variance_near_the_limits_of_float32(scale, device):
    """1 / sqrt(variance) to the power of 3 is no float32."""
    torch.manual_seed(0)
    x = torch.randn(64, 3, dtype=torch.float64, device=device)
    grad_output = torch.randn(64, 3, device=device)

    def gradient(x: Tensor) -> Tensor:
        mean, invstd = x.mean(0), 1 / x.std(0, correction=0)
        alpha = torch.ones(3, dtype=x.dtype, device=device)
        return ops.batch_norm_mpelu_backward(
            grad_output.to(x.dtype), x, None, None, mean, invstd, alpha, None, True, 0.0
        )[0]

    actual = gradient((scale * x).float()).double() * scale
    torch.testing.assert_close(actual, gradient(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("channels", [8, 35], ids=["at once", "by parts"])
def test_variance_survives_a_mean_far_from_zero(channels, device):
    # E[x^2] - E[x]^2 in float32 has no digit left of a variance 10^-10 times the squared mean.
    x = (torch.randn(64, channels, 9, 9, dtype=torch.float64) + 1e5).float().to(device)
    x[0] = -1e5  # and the guess of the mean is bad
    ones = torch.ones(channels, device=device)
    _, mean, invstd = ops.batch_norm_mpelu(x, None, None, None, None, ones, None, True, 0.1, EPS)
    dims = (0, 2, 3)
    variance = x.double().var(dims, unbiased=False)
    torch.testing.assert_close(mean.double(), x.double().mean(dims), rtol=1e-6, atol=0)
    torch.testing.assert_close(invstd.double(), (variance + EPS).rsqrt(), rtol=1e-6, atol=0)
    constant = torch.full((4, channels, 3, 3), 1234.5, device=device)
    output = ops.batch_norm_mpelu(constant, None, None, None, None, ones, None, True, 0.1, EPS)[0]
    assert output.eq(0).all()


def test_the_variance_of_one_image_does_not_depend_on_its_first_element(device):
    x = torch.randn(1, 4, 64, 64, device=device)
    x[..., 0, 0] = 3.9  # as a guess of the mean it would make the squares 16 times as large
    ones = torch.ones(4, device=device)
    invstd = ops.batch_norm_mpelu(x, None, None, None, None, ones, None, True, 0.1, EPS)[2]
    variance = x.double().var((0, 2, 3), unbiased=False)
    torch.testing.assert_close(invstd.double(), (variance + EPS).rsqrt(), rtol=2e-7, atol=0)


# As a whole: columns, rows, and channels last; by parts: one channel each, several, of which the
# last has less, and, written past the caches, columns that end within lines of memory.
@pytest.mark.parametrize(
    "shape",
    [(64, 32, 5, 5), (70, 3, 149), (3000, 64), (20, 33, 40, 50), (8, 70, 130), (33, 1343, 7, 7)],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_equal_to_the_bit_for_any_number_of_threads(shape, dtype):
    a = make_arguments(shape).to(dtype)
    grad_output = torch.randn(shape, dtype=dtype)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3, 7):
            torch.set_num_threads(count)
            results.append(with_gradients(fused, a, grad_output))
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(result, results[0], strict=True))


@pytest.mark.parametrize("shape", [(2048, 4), (64, 64, 5, 5), (64, 32, 32, 8)], ids=str)
def test_half_gradients_overflow_no_sooner_than_their_results(shape, device):
    torch.manual_seed(0)
    x = (0.5 + 1e-3 * torch.randn(shape)).half().to(device)
    grad_output = (300 + torch.randn(shape)).half().to(device)
    weight, bias, alpha = (torch.full(shape[1:2], v, device=device) for v in (1.0, 20.0, 1.0))
    _, *saved = ops.batch_norm_mpelu(x, weight, bias, None, None, alpha, None, True, 0.1, EPS)

    def gradient(g: Tensor, x: Tensor, *numbers: Tensor) -> Tensor:
        weight, bias, mean, invstd, alpha = numbers
        return ops.batch_norm_mpelu_backward(
            g, x, weight, bias, mean, invstd, alpha, None, True, EPS
        )[0]

    numbers = (weight, bias, *saved, alpha)
    actual = gradient(grad_output, x, *numbers)
    exact = gradient(grad_output.double(), x.double(), *(n.double() for n in numbers))
    torch.testing.assert_close(actual.double(), exact, rtol=1e-2, atol=0.01 * exact.std().item())
