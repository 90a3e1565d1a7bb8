"""The yardstick itself: numbers worked out by hand, and torch's own rounding."""

from __future__ import annotations

import math

import pytest
import reference
import torch
from samples import DTYPES, make_values
from tolerances import assert_gradients_close, assert_values_close, elements, format_of


def test_values_by_hand() -> None:
    assert reference.mpelu(2.0, 3.0, 5.0) == 2.0
    assert reference.mpelu(0.0, 3.0, 5.0) == 0.0
    assert reference.mpelu(-math.log(2), 3.0, 1.0) == pytest.approx(-1.5)
    assert reference.mpelu(-math.log(2), 3.0, 2.0) == pytest.approx(3 * (1 / 4 - 1))
    assert reference.mpelu(-math.inf, 3.0, 2.0) == -3.0
    assert reference.mpelu(-1e6, 3.0, -2.0) == math.inf
    assert math.copysign(1.0, reference.elu(-1.0, 0.0)) == 1.0


def test_gradients_by_hand() -> None:
    def values(*arguments: float) -> list[float]:
        return [term.value for term in reference.mpelu_gradients(*arguments)]

    assert values(7.0, 2.0, 3.0, 5.0) == [7.0, 0.0, 0.0]
    assert values(7.0, 0.0, 3.0, 5.0) == [105.0, 0.0, 0.0]
    x = -math.log(2)  # exp(2 x) = 1/4
    assert values(8.0, x, 3.0, 2.0) == pytest.approx([12.0, -6.0, 6 * x])
    assert values(7.0, math.inf, 3.0, 5.0) == [7.0, 0.0, 0.0]
    at_minus_infinity = values(7.0, -math.inf, 3.0, 5.0)
    assert at_minus_infinity[:2] == [0.0, -7.0] and math.isnan(at_minus_infinity[2])
    assert all(map(math.isnan, values(7.0, math.nan, 3.0, 5.0)))


def test_gradients_are_the_slopes_of_the_values() -> None:
    step = 1e-6
    for x, alpha, beta in [(-1.3, 0.7, 1.9), (-0.2, -1.5, 0.3), (-2.0, 0.4, -0.8)]:
        to_input, to_alpha, to_beta = reference.mpelu_gradients(1.0, x, alpha, beta)
        for gradient, (dx, dalpha, dbeta) in [
            (to_input, (step, 0, 0)),
            (to_alpha, (0, step, 0)),
            (to_beta, (0, 0, step)),
        ]:
            above = reference.mpelu(x + dx, alpha + dalpha, beta + dbeta)
            below = reference.mpelu(x - dx, alpha - dalpha, beta - dbeta)
            assert gradient.value == pytest.approx((above - below) / (2 * step), rel=1e-7)


def test_gradient_from_result_is_the_gradient() -> None:
    for x in (-3.0, -0.1, 0.0, 2.0):
        result = reference.elu(x, 0.5)
        expected = reference.mpelu_gradients(3.0, x, 0.5)[0].value
        assert reference.elu_gradient_from_result(3.0, result, 0.5).value == pytest.approx(expected)


def test_channels_by_hand() -> None:
    assert reference.channels_of((2, 3), 1) == [0, 1, 2, 0, 1, 2]
    assert reference.channels_of((2, 3), -2) == [0, 0, 0, 1, 1, 1]
    assert reference.channels_of((1, 2, 2), 1) == [0, 0, 1, 1]
    assert reference.channels_of((3,), 1) == [0, 1, 2]
    assert reference.channels_of((), 1) == [0]
    assert reference.channels_of((2, 0, 3), 1) == []


def test_sums_are_per_channel_and_keep_their_magnitude() -> None:
    grads, inputs = [1.0, 1.0, -1.0, 1.0], [-1.0, -2.0, -1.0, 3.0]
    _, alphas, betas = reference.mpelu_backward(grads, inputs, [0, 1, 0, 1], [0.5, 2.0], [1.0])
    m = [math.expm1(-1), math.expm1(-2)]
    assert [term.value for term in alphas] == [0.0, m[1]]
    assert [term.magnitude for term in alphas] == [-2 * m[0], -m[1]]
    assert [term.value for term in betas] == pytest.approx([2.0 * -2.0 * math.exp(-2)])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_round_is_torch_rounding(dtype: torch.dtype) -> None:
    number_format = format_of(dtype)
    largest = torch.finfo(dtype).max
    assert number_format.largest == largest
    assert number_format.ulp(1.0) == torch.finfo(dtype).eps
    wide = make_values((500,), torch.float64) * 10 ** make_values((500,), torch.float64, seed=1)
    extremes = torch.tensor([largest, -largest, 0.0, math.inf, torch.finfo(dtype).tiny / 5])
    for values in (wide, extremes.double(), 0.37 * torch.finfo(dtype).tiny * wide):
        assert list(map(number_format.round, values.tolist())) == elements(values.to(dtype))


def test_ulps_between() -> None:
    single = reference.FORMATS["float32"]
    assert single.ulps_between(1.0 + 2**-23, 1.0) == 1.0
    assert single.ulps_between(2**-149, 0.0) == 1.0
    assert single.ulps_between(math.inf, 1e39) == 0.0
    assert single.ulps_between(math.inf, -1e39) == math.inf
    assert single.ulps_between(math.nan, math.nan) == 0.0
    assert single.ulps_between(math.nan, 1.0) == single.ulps_between(1.0, math.nan) == math.inf


def test_comparisons_reject_what_is_outside() -> None:
    one = torch.tensor([1.0])
    assert_values_close(one * (1 + 2**-22), [reference.Term(1.0, 0.0)], "2 ULP")
    with pytest.raises(AssertionError, match="3 ULP"):
        assert_values_close(one * (1 + 3 * 2**-23), [reference.Term(1.0, 0.0)], "3 ULP")
    assert_gradients_close(one, [reference.Term(1.0, 0.0)], "exact")
    with pytest.raises(AssertionError, match="1 ULP"):
        assert_gradients_close(one * (1 + 2**-23), [reference.Term(1.0, 0.0)], "not exact")
    with pytest.raises(AssertionError, match="nan"):
        assert_gradients_close(one * math.nan, [reference.Term(1.0, 1.0)], "not a number")
