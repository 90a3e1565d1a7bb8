"""The ELU family in plain Python: double precision, one element at a time, the standard library.

Nothing here knows torch or the project's kernels, so that an error cannot be in both. A tensor is
its elements in row-major order, beside one channel index per element; alpha and beta are lists.

Values that are not finite follow from the formula alone. With alpha, beta > 0 and x = -inf:
f = -alpha, df/dx = 0 and df/dalpha = -1, while df/dbeta = alpha x exp(beta x) = -inf * 0 is NaN.
x = +inf is the identity and gives the parameters nothing; a NaN goes into all four. Only x = 0
with an infinite or NaN alpha is promised nowhere: the formula's 0 * alpha is NaN, its limit is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import NamedTuple


def _saturating(function: Callable[[float], float], z: float) -> float:
    """`function(z)`, infinite where Python would raise OverflowError."""
    try:
        return function(z)
    except OverflowError:
        return math.inf


def exp(z: float) -> float:
    return _saturating(math.exp, z)


def expm1(z: float) -> float:
    return _saturating(math.expm1, z)


def mpelu(x: float, alpha: float, beta: float = 1.0) -> float:
    """x where x > 0, else alpha (exp(beta x) - 1). Clevert et al. 2016 with beta = 1, Li et al."""
    return x if x > 0 else alpha * expm1(beta * x)


def elu(x: float, alpha: float) -> float:
    """MPELU with beta = 1, except that alpha = 0 is ReLU: +0 and not alpha * expm1(x) = -0."""
    return 0.0 if alpha == 0 and x <= 0 else mpelu(x, alpha)


class Term(NamedTuple):
    """A number, and the magnitude in proportion to which rounding moves it.

    An exact number has the magnitude 0. A sum's magnitude is the sum of its terms' magnitudes,
    which cancellation does not make smaller.
    """

    value: float
    magnitude: float


EXACT_ZERO = Term(0.0, 0.0)


def mpelu_term(x: float, alpha: float, beta: float = 1.0) -> Term:
    """`mpelu` with its sensitivity to the one rounding of beta x here, which is exact in double
    precision for numbers of the narrower formats and for powers of two.
    """
    z = beta * x
    if x > 0 or abs(math.frexp(beta)[0]) in (0.0, 0.5):
        return Term(mpelu(x, alpha, beta), 0.0)
    return Term(mpelu(x, alpha, beta), abs(alpha * z * exp(z)))


def mpelu_gradients(
    grad: float, x: float, alpha: float, beta: float = 1.0
) -> tuple[Term, Term, Term]:
    """One element's gradient to the input, and what it adds to alpha's and to beta's.

    exp(beta x) is at most 1 where beta x <= 0, and a kernel may compute it as expm1 + 1: its
    error is then absolute. Where a negative beta makes beta x > 0 the error is relative and
    grows with beta x, which is itself rounded once.
    """
    if x > 0:
        return Term(grad, 0.0), EXACT_ZERO, EXACT_ZERO
    z = beta * x
    e, m = exp(z), expm1(z)
    amplification = 1 + z if z > 0 else 1.0
    e_magnitude = e * amplification if e > 1 else 1.0
    to_input, to_beta = grad * alpha * beta, grad * alpha * x
    return (
        Term(to_input * e, abs(to_input) * e_magnitude),
        Term(grad * m, _magnitude(grad * m, grad, x, beta) * amplification),
        Term(to_beta * e, abs(to_beta) * e_magnitude),
    )


def _magnitude(product: float, *factors: float) -> float:
    """Of a product of such factors. One that has only underflowed is no exact number."""
    return abs(product) or (math.ulp(0.0) if all(factors) else 0.0)


def elu_gradient_from_result(grad: float, result: float, alpha: float) -> Term:
    """The gradient written in the output y: below zero alpha exp(x) is y + alpha."""
    if result > 0:
        return Term(grad, 0.0)
    return Term(grad * (result + alpha), abs(grad * alpha))


def channels_of(shape: Sequence[int], dim: int) -> list[int]:
    """The channel of each element in row-major order; up to rank 1 it is the element's index."""
    if not shape:
        return [0]
    dim = dim % len(shape) if len(shape) > 1 else 0
    inner = math.prod(shape[dim + 1 :])
    return [index // inner % shape[dim] for index in range(math.prod(shape))]


def _per_element(parameter: Sequence[float], channels: Sequence[int]) -> Iterable[float]:
    if len(parameter) == 1:
        return repeat(parameter[0], len(channels))
    return (parameter[channel] for channel in channels)


def mpelu_forward(
    input: Sequence[float],
    channels: Sequence[int],
    alpha: Sequence[float],
    beta: Sequence[float] = (1.0,),
) -> list[Term]:
    return list(map(mpelu_term, input, _per_element(alpha, channels), _per_element(beta, channels)))


def mpelu_backward(
    grad_output: Sequence[float],
    input: Sequence[float],
    channels: Sequence[int],
    alpha: Sequence[float],
    beta: Sequence[float] = (1.0,),
) -> tuple[list[Term], list[Term], list[Term]]:
    """Gradients to the input, alpha and beta."""
    gradients = list(
        map(
            mpelu_gradients,
            grad_output,
            input,
            _per_element(alpha, channels),
            _per_element(beta, channels),
        )
    )
    return (
        [to_input for to_input, _, _ in gradients],
        _sum_by_channel([to_alpha for _, to_alpha, _ in gradients], channels, len(alpha)),
        _sum_by_channel([to_beta for _, _, to_beta in gradients], channels, len(beta)),
    )


def _sum_by_channel(terms: Sequence[Term], channels: Sequence[int], count: int) -> list[Term]:
    groups: list[list[Term]] = [[] for _ in range(count)]
    for term, channel in zip(terms, channels, strict=True):
        groups[channel if count > 1 else 0].append(term)
    return [
        Term(_sum(term.value for term in group), _sum(term.magnitude for term in group))
        for group in groups
    ]


def _sum(values: Iterable[float]) -> float:
    values = list(values)
    # fsum is exact, but refuses to add infinities of opposite sign
    return math.fsum(values) if all(map(math.isfinite, values)) else sum(values)


class Format(NamedTuple):
    """A binary floating-point format: bits of precision, smallest exponents, largest number."""

    precision: int
    smallest_exponent: int  # of the smallest subnormal number, a power of two
    largest: float

    def ulp(self, value: float) -> float:
        """The distance of this format's numbers around a finite `value`."""
        if value == 0:
            return math.ldexp(1.0, self.smallest_exponent)
        _, exponent = math.frexp(value)
        return math.ldexp(1.0, max(exponent - self.precision, self.smallest_exponent))

    def round(self, value: float) -> float:
        """The nearest number of this format, ties to even."""
        if not math.isfinite(value):
            return value
        ulp = self.ulp(value)
        rounded = round(value / ulp) * ulp
        return rounded if abs(rounded) <= self.largest else math.copysign(math.inf, value)

    def ulps_between(self, actual: float, expected: float) -> float:
        """How many ULPs `actual` is from the real number `expected`, which need not be a number of
        this format. NaN matches NaN, an infinity what rounds to it; else they are infinitely far.
        """
        if actual == expected:
            return 0.0
        if math.isnan(expected) or math.isnan(actual):
            return 0.0 if math.isnan(expected) and math.isnan(actual) else math.inf
        if math.isinf(actual) or abs(expected) > self.largest:
            return 0.0 if actual == self.round(expected) else math.inf
        return abs(actual - expected) / self.ulp(expected)


FORMATS = {
    "float64": Format(53, -1074, math.ldexp(2 - 2**-52, 1023)),
    "float32": Format(24, -149, math.ldexp(2 - 2**-23, 127)),
    "bfloat16": Format(8, -133, math.ldexp(2 - 2**-7, 127)),
    "float16": Format(11, -24, math.ldexp(2 - 2**-10, 15)),
}
