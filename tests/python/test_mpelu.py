"""mpelu, mpelu_ and mpelu_backward: values, special values and what they are equal to."""

from __future__ import annotations

import math

import pytest
import reference
import torch
from formula import mpelu_formula
from reference import Term
from samples import (
    DTYPES,
    HALF_DTYPES,
    LAST_SIZES,
    LAYOUTS,
    NON_FINITE,
    WRITABLE_LAYOUTS,
    ZERO_SIZES,
    Sample,
    make_values,
    samples,
    special_values,
)
from tolerances import (
    FORWARD_ULPS,
    SAME_IN_FLOAT32,
    assert_gradients_close,
    assert_same_bits,
    assert_values_close,
    elements,
)

ops = torch.ops.mpelu
by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
by_layout = pytest.mark.parametrize("layout", LAYOUTS)


def arguments(sample: Sample) -> tuple[list[float], list[int], list[float], list[float]]:
    """The reference's arguments: input, channels, alpha, beta."""
    return (
        elements(sample.input),
        reference.channels_of(sample.input.shape, sample.dim),
        elements(sample.alpha),
        [1.0] if sample.beta is None else elements(sample.beta),
    )


def expected_values(sample: Sample) -> list[Term]:
    return reference.mpelu_forward(*arguments(sample))


def forward(sample: Sample) -> torch.Tensor:
    return ops.mpelu(sample.input, sample.alpha, sample.beta, sample.dim)


def check_backward(sample: Sample) -> None:
    gradients = ops.mpelu_backward(
        sample.grad_output, sample.input, sample.alpha, sample.beta, sample.dim
    )
    expected = reference.mpelu_backward(elements(sample.grad_output), *arguments(sample))
    tensors = (sample.input, sample.alpha, sample.beta)
    for name, gradient, terms, tensor in zip(
        ("input", "alpha", "beta"), gradients, expected, tensors, strict=True
    ):
        if tensor is None:
            assert gradient.shape == (0,)
            continue
        assert gradient.shape == tensor.shape and gradient.dtype == tensor.dtype, sample.name
        assert_gradients_close(gradient, terms, f"gradient to {name}, {sample.name}")


def check_float32_values(x: torch.Tensor, alpha: float, beta: float) -> None:
    parameters = [torch.tensor(value, device=x.device) for value in (alpha, beta)]
    expected = reference.mpelu_forward(elements(x), [0] * len(x), *([p.item()] for p in parameters))
    assert_values_close(ops.mpelu(x, *parameters), expected, f"{alpha=}, {beta=}")


@by_layout
@by_dtype
def test_values(device: torch.device, dtype: torch.dtype, layout: str) -> None:
    for sample in samples(device, dtype, layout):
        before = sample.input.clone()
        output = forward(sample)
        assert output.shape == sample.input.shape and output.dtype == dtype
        assert_values_close(output, expected_values(sample), sample.name)
        assert_same_bits(sample.input, before, f"input of {sample.name}")


@pytest.mark.parametrize("alpha, beta", [(1.0, -1.0), (1.25, -0.37), (1.38, -0.7), (1.9, -1.1)])
def test_values_where_the_one_of_expm1_is_half_a_unit(
    device: torch.device, alpha: float, beta: float
) -> None:
    # e^z around 2^25, the first power of two that less 1 is no float32: z near 17.3.
    x = torch.linspace(16.9 / beta, 17.7 / beta, 20_001, device=device)
    check_float32_values(x, alpha, beta)


@pytest.mark.parametrize(
    "alpha, beta", [(1.13, -0.38), (1.18, -1.73), (1.19, -0.85), (1.95, -0.94)]
)
def test_values_where_the_terms_of_expm1_cancel(
    device: torch.device, alpha: float, beta: float
) -> None:
    # 2^k expm1(r) + (2^k - 1) for the first k above 0, where the first term is below 0: z near 0.4.
    x = torch.linspace(0.34 / beta, 0.5 / beta, 20_001, device=device)
    check_float32_values(x, alpha, beta)


@pytest.mark.parametrize("alpha", [0.25, -0.5, 0.03, 1.0, 1.9, 1e-20])
def test_values_up_to_their_own_overflow(device: torch.device, alpha: float) -> None:
    # Where |alpha| < 1, e^z overflows before alpha e^z does.
    end = math.log(torch.finfo(torch.float32).max) - math.log(abs(alpha))
    x = torch.linspace(-end - 0.5, -86, 5_001, device=device)
    check_float32_values(x, alpha, -1.0)


def distance_of_numbers(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    info = torch.finfo(dtype)
    return info.eps * 2.0 ** values.abs().clamp(info.tiny, info.max).log2().floor()


PAIRS = ((1.0, 1.0), (0.25, 1.0), (1.7, 0.83), (-0.6, 2.0), (0.25, -1.0), (0.03, -1.0), (1.3, -0.7))


@pytest.mark.parametrize("alpha, beta", PAIRS)
@pytest.mark.parametrize("dtype", [torch.float32, *HALF_DTYPES], ids=str)
def test_every_exponent_and_every_number_of_half_types(
    device: torch.device, dtype: torch.dtype, alpha: float, beta: float
) -> None:
    if dtype == torch.float32:  # numbers below zero, evenly over their bits
        x = torch.arange(-(2**31), 0, 9973).to(torch.int32).view(dtype).to(device)
    else:
        x = torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype).to(device)
    parameters = [torch.tensor(value, dtype=dtype, device=device) for value in (alpha, beta)]
    exact = mpelu_formula(*(t.double().view(-1, 1) for t in (x, *parameters))).view(-1).cpu()
    actual, rounded = ops.mpelu(x, *parameters).cpu(), exact.to(dtype)
    assert torch.equal(actual.isnan(), rounded.isnan())
    assert torch.equal(actual[rounded.isinf()], rounded[rounded.isinf()])
    error = (actual.double() - exact).abs() / distance_of_numbers(exact, dtype)
    assert (error[rounded.isfinite()] <= FORWARD_ULPS[dtype]).all()


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("inner", [1, 5, 70])
@by_dtype
def test_negative_beta_changes_no_bit_of_another_channel(
    device: torch.device, dtype: torch.dtype, inner: int, channels_last: bool
) -> None:
    def channels_of_four(last_beta: float) -> list[torch.Tensor]:
        x, grad_output = (
            make_values((9, 4, inner), dtype, seed, special_values(dtype)).to(device)
            for seed in (0, 1)
        )
        if channels_last:
            x = x.mT.contiguous().mT
        alpha = torch.tensor([1.0, -0.6, 0.0, 1.7], dtype=dtype, device=device)
        beta = torch.tensor([0.5, 0.0, 1.3, last_beta], dtype=dtype, device=device)
        gradients = ops.mpelu_backward(grad_output, x, alpha, beta, 1)
        return [ops.mpelu(x, alpha, beta, 1), *gradients]

    for one, other in zip(channels_of_four(0.8), channels_of_four(-0.8), strict=True):
        channel_dim = 1 if one.dim() == 3 else 0
        first_three = [t.narrow(channel_dim, 0, 3) for t in (one, other)]
        assert_same_bits(*first_three, "the first three channels")
        assert not torch.equal(one, other)


@pytest.mark.parametrize("layout", WRITABLE_LAYOUTS)
@by_dtype
def test_in_place_equals_out_of_place(
    device: torch.device, dtype: torch.dtype, layout: str
) -> None:
    for sample in samples(device, dtype, layout):
        expected = forward(sample)
        output = ops.mpelu_(sample.input, sample.alpha, sample.beta, sample.dim)
        assert output is sample.input
        assert_same_bits(output, expected, sample.name)


@by_layout
@by_dtype
def test_gradients(device: torch.device, dtype: torch.dtype, layout: str) -> None:
    for sample in samples(device, dtype, layout):
        check_backward(sample)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@by_dtype
def test_large_tensor(device: torch.device, dtype: torch.dtype, layout: str) -> None:
    shape = (3, 5, 61, 67)
    arrange = LAYOUTS[layout].arrange
    sample = Sample(
        f"large, {layout}",
        arrange(make_values(shape, dtype, specials=special_values(dtype)).to(device)),
        arrange(make_values(shape, dtype, seed=1).to(device)),
        torch.tensor([1.0, 0.25, 1.75, -0.5, 0.0], dtype=dtype, device=device),
        torch.tensor([1.0, 0.5, 1.25, 2.0, 0.75], dtype=dtype, device=device),
        dim=1,
    )
    assert_values_close(forward(sample), expected_values(sample), sample.name)
    check_backward(sample)


@pytest.mark.parametrize("dim", [0, 1])
@by_dtype
def test_values_that_are_not_finite(device: torch.device, dtype: torch.dtype, dim: int) -> None:
    """A NaN also stays in its channel: the last channel's sums are finite."""
    for size in LAST_SIZES:
        x = make_values((3, size), dtype, size, (*NON_FINITE, -0.0, 0.0))
        grad_output = make_values((3, size), dtype, size + 1, NON_FINITE)
        channels = x.shape[dim]
        if channels:
            x.select(dim, -1).fill_(-0.75)
            grad_output.select(dim, -1).fill_(1.5)
        for beta in (None, torch.linspace(0.5, 1.5, channels)):
            sample = Sample(
                f"{size=}, {dim=}",
                x.to(device),
                grad_output.to(device),
                torch.linspace(0.5, 2, channels).to(device, dtype),
                None if beta is None else beta.to(device, dtype),
                dim,
            )
            assert_values_close(forward(sample), expected_values(sample), sample.name)
            check_backward(sample)


@by_dtype
def test_sign_of_zero_is_kept(device: torch.device, dtype: torch.dtype) -> None:
    one = torch.ones((), dtype=dtype, device=device)
    for size in LAST_SIZES:
        zeros = make_values((size,), dtype, size, (0.0, -0.0)).mul(0).to(device)
        assert_same_bits(ops.mpelu(zeros, one, one), zeros, f"{size=}")


@by_dtype
def test_parameters_that_are_not_finite_stay_in_their_channel(
    device: torch.device, dtype: torch.dtype
) -> None:
    """Legal in the ops: a diverged network shows NaN where it is, it does not stop."""
    x = make_values((4, 3, 19), dtype).to(device)
    sample = Sample(
        "NaN and infinite parameters",
        x,
        make_values(x.shape, dtype, seed=1).to(device),
        torch.tensor([math.nan, 0.5, 1.0], dtype=dtype, device=device),
        torch.tensor([1.0, 0.5, math.inf], dtype=dtype, device=device),
        dim=1,
    )
    assert_values_close(forward(sample), expected_values(sample), sample.name)
    check_backward(sample)


@by_dtype
def test_parameters_have_no_gradient_where_no_element_uses_them(
    device: torch.device, dtype: torch.dtype
) -> None:
    """Whatever they are, for rows of whole vectors and for others."""
    alpha = torch.tensor([math.nan, 0.5, math.inf], dtype=dtype, device=device)
    beta = torch.tensor([0.5, math.nan, -1.0], dtype=dtype, device=device)
    for size in LAST_SIZES:
        x = make_values((2, 3, size), dtype).abs().add(1).to(device)
        _, *gradients = ops.mpelu_backward(torch.ones_like(x), x, alpha, beta)
        for gradient in gradients:
            assert torch.equal(gradient, torch.zeros_like(gradient)), size


@pytest.mark.parametrize("dtype", HALF_DTYPES, ids=str)
def test_half_input_with_float_parameters_is_computed_in_float(
    device: torch.device, dtype: torch.dtype
) -> None:
    """Against float32 of the same numbers, rounded once: parameters are not rounded to half."""
    x = make_values((4, 3, 67), dtype).to(device)
    alpha = torch.tensor([0.3, 1.1, 0.7], device=device)
    beta = torch.tensor([1.1, 0.9, 0.3], device=device)
    expected = ops.mpelu(x.float(), alpha, beta)
    assert_same_bits(ops.mpelu(x, alpha, beta), expected.to(dtype))
    grad_output = make_values(x.shape, dtype, seed=1).to(device)
    gradients = ops.mpelu_backward(grad_output, x, alpha, beta)
    assert [gradient.dtype for gradient in gradients] == [dtype, torch.float32, torch.float32]


@pytest.mark.parametrize("with_beta", [True, False])
def test_with_ones_equals_torch_elu(device: torch.device, with_beta: bool) -> None:
    ones = torch.ones(5, device=device)
    ours = make_values((4, 5, 67), torch.float32).to(device).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    output = ops.mpelu(ours, ones, ones if with_beta else None)
    expected = torch.nn.functional.elu(theirs)
    torch.testing.assert_close(output, expected, **SAME_IN_FLOAT32)
    grad_output = make_values((4, 5, 67), torch.float32, seed=1).to(device)
    output.backward(grad_output)
    expected.backward(grad_output)
    torch.testing.assert_close(ours.grad, theirs.grad, **SAME_IN_FLOAT32)


@by_dtype
def test_without_beta_equals_beta_one(device: torch.device, dtype: torch.dtype) -> None:
    for sample in samples(device, dtype, "contiguous"):
        one = torch.ones_like(sample.alpha)
        assert_same_bits(
            ops.mpelu(sample.input, sample.alpha, None, sample.dim),
            ops.mpelu(sample.input, sample.alpha, one, sample.dim),
            sample.name,
        )


@by_dtype
def test_alpha_zero_equals_relu(device: torch.device, dtype: torch.dtype) -> None:
    specials = tuple(value for value in special_values(dtype) if value != 0)
    x = make_values((3, 5, 67), dtype, specials=(*specials, 0.0)).to(device).requires_grad_()
    zeros = torch.zeros(5, dtype=dtype, device=device)
    output = ops.mpelu(x, zeros, torch.ones_like(zeros))
    assert_same_bits(output, torch.relu(x))
    grad_output = make_values(x.shape, dtype, seed=1).to(device)
    output.backward(grad_output)
    assert torch.equal(x.grad, torch.where(x > 0, grad_output, torch.zeros_like(x)))


def test_channel_dimension_is_one_by_default(device: torch.device) -> None:
    x = make_values((2, 3, 4), torch.float32).to(device)
    alpha = torch.tensor([0.5, 1.0, 2.0], device=device)
    assert_same_bits(ops.mpelu(x, alpha), ops.mpelu(x, alpha, None, 1))
    assert_same_bits(ops.mpelu(x, alpha), ops.mpelu(x, alpha, None, -2))


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_vector_and_scalar_have_their_channels_in_dim_zero(device: torch.device, dim: int) -> None:
    x = torch.tensor([-1.0, -1.0, 2.0], device=device)
    alpha = torch.tensor([0.5, 2.0, 4.0], device=device)
    m = math.expm1(-1)
    expected = torch.tensor([0.5 * m, 2 * m, 2], device=device)
    torch.testing.assert_close(ops.mpelu(x, alpha, None, dim), expected)
    torch.testing.assert_close(ops.mpelu(x[0], alpha[:1], alpha[0] * 2, dim), expected[0])


@pytest.mark.parametrize("shape", ZERO_SIZES, ids=str)
def test_no_elements(device: torch.device, shape: tuple[int, ...]) -> None:
    for dim in range(len(shape)):
        for size in {1, shape[dim]}:
            x = torch.empty(shape, device=device, requires_grad=True)
            alpha = torch.ones(size, device=device, requires_grad=True)
            beta = torch.ones(size, device=device, requires_grad=True)
            output = ops.mpelu(x, alpha, beta, dim)
            output.backward(torch.empty_like(output))
            assert output.shape == x.grad.shape == shape
            assert torch.equal(alpha.grad, torch.zeros_like(alpha))
            assert torch.equal(beta.grad, torch.zeros_like(beta))
            with torch.no_grad():
                assert ops.mpelu_(x, alpha, beta, dim).shape == shape
