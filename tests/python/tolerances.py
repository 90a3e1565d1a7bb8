"""How far a result may be from the reference, each number with its reason, and the comparisons."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from reference import FORMATS, Format, Term
from torch import Tensor

# The project's bar. In float32 and float64 it leaves room for expm1 within 1 ULP and one more
# rounding in the product with alpha. Half types are computed in float32 and rounded once: the
# result is one of the two neighbours of the exact value.
FORWARD_ULPS = {torch.float64: 2.0, torch.float32: 2.0, torch.bfloat16: 1.0, torch.float16: 1.0}

# The reference's own error: it rounds beta x once, by at most half an epsilon of float64.
ARGUMENT_EPSILON = 2.0**-53

# A gradient is a product of up to four rounded factors, one of them an exponential good to 2 ULP
# of 1, in the precision of the arithmetic (float32 for half types). Sums keep to this factor of the
# sum of their terms' magnitudes because they are added up in short partial sums, and those in
# compensated doubles.
GRADIENT_EPSILONS = 4.0
# The result is rounded once more to its own dtype.
GRADIENT_ULPS = 1.0

# Below the smallest normal number precision is absolute, and what multiplies or sums such numbers
# multiplies and sums their errors: these many smallest numbers, some 1e-43 in float32. A value with
# alpha up to 1.7 rounds beta x and itself; gradients of up to 10 are summed over up to some hundred
# elements.
SUBNORMAL_VALUE = 2.0
SUBNORMAL_GRADIENT = 128.0

# Two formulas for the same number in float64 (closed forms, second derivatives, transforms): a few
# dozen roundings of values around 1 to 100.
SAME_IN_FLOAT64 = {"rtol": 1e-12, "atol": 1e-12}
# The same in float32.
SAME_IN_FLOAT32 = {"rtol": 2e-5, "atol": 2e-5}

# A whole model's outputs, relative to the largest: some fifty layers, each with its roundings. A
# fused pair is one rounding away from the pair; folding moves the roundings of every weight.
SAME_MODEL_FUSED = {torch.float64: 1e-12, torch.float32: 1e-5}
SAME_MODEL_FOLDED = {torch.float64: 1e-10, torch.float32: 1e-4}


def format_of(dtype: torch.dtype) -> Format:
    return FORMATS[str(dtype).removeprefix("torch.")]


def arithmetic_of(dtype: torch.dtype) -> torch.finfo:
    """Of what is computed before the result is rounded to `dtype`."""
    return torch.finfo(torch.float64 if dtype == torch.float64 else torch.float32)


def elements(tensor: Tensor) -> list[float]:
    """The tensor's elements in row-major order, exactly."""
    return tensor.detach().reshape(-1).tolist()


def assert_values_close(actual: Tensor, expected: Sequence[Term], what: str) -> None:
    """`actual` is within FORWARD_ULPS of `expected`, beside that one's own error."""
    number_format = format_of(actual.dtype)
    for index, (value, (exact, magnitude)) in enumerate(
        zip(elements(actual), expected, strict=True)
    ):
        error = number_format.ulps_between(value, exact)
        if error <= FORWARD_ULPS[actual.dtype]:
            continue
        own_error = ARGUMENT_EPSILON * magnitude / number_format.ulp(exact)
        subnormal = abs(exact) < torch.finfo(actual.dtype).tiny
        allowed = SUBNORMAL_VALUE if subnormal else FORWARD_ULPS[actual.dtype] + own_error
        assert error <= allowed, (
            f"{what}, element {index}: {value!r} instead of {exact!r}: "
            f"{error:.3g} ULP of {actual.dtype}, {allowed:.3g} allowed"
        )


def assert_gradients_close(actual: Tensor, expected: Sequence[Term], what: str) -> None:
    """`actual` is within GRADIENT_EPSILONS of each magnitude and GRADIENT_ULPS of the value.

    A term of magnitude 0 (a gradient passed on unchanged) must be exact.
    """
    number_format = format_of(actual.dtype)
    arithmetic = arithmetic_of(actual.dtype)
    for index, (value, (exact, magnitude)) in enumerate(
        zip(elements(actual), expected, strict=True)
    ):
        error = number_format.ulps_between(value, exact)
        if error <= (GRADIENT_ULPS if magnitude else 0):
            continue
        margin = GRADIENT_EPSILONS * arithmetic.eps * magnitude
        margin += SUBNORMAL_GRADIENT * arithmetic.eps * arithmetic.tiny
        allowed = GRADIENT_ULPS + margin / number_format.ulp(exact) if magnitude else 0
        assert error <= allowed, (
            f"{what}, element {index}: {value!r} instead of {exact!r}: "
            f"{error:.3g} ULP of {actual.dtype}, {allowed:.3g} allowed"
        )


def assert_same_outputs(actual: Tensor, expected: Tensor, tolerance: dict[torch.dtype, float]):
    """Two models' outputs are as close as `tolerance` has it for their dtype."""
    assert actual.shape == expected.shape and actual.dtype == expected.dtype
    error = ((actual - expected).abs().max() / expected.abs().max()).item()
    assert error <= tolerance[actual.dtype]


def assert_same_bits(actual: Tensor, expected: Tensor, what: str = "") -> None:
    """Equal in shape, dtype and every bit: -0 is not +0; but one NaN is as good as another."""
    assert actual.dtype == expected.dtype and actual.shape == expected.shape, what
    bits = {8: torch.int64, 4: torch.int32, 2: torch.int16}[actual.element_size()]
    actual, expected = actual.detach().reshape(-1), expected.detach().reshape(-1)
    different = actual.view(bits) != expected.view(bits)
    different = (different & ~(actual.isnan() & expected.isnan())).nonzero()
    if len(different):
        index = int(different[0])
        raise AssertionError(
            f"{what}: {len(different)} of {len(actual)} elements differ, the first at {index}: "
            f"{actual[index].item()!r} instead of {expected[index].item()!r}"
        )
