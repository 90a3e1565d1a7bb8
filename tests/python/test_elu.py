"""elu, elu_ and elu_backward: values, special values and what they are equal to."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator, Sequence

import pytest
import reference
import torch
from reference import Term
from samples import (
    DTYPES,
    ELU_ALPHAS,
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
    SAME_IN_FLOAT32,
    assert_gradients_close,
    assert_same_bits,
    assert_values_close,
    elements,
)

ops = torch.ops.mpelu
by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
by_layout = pytest.mark.parametrize("layout", LAYOUTS)


def samples_and_alphas(
    device: torch.device, dtype: torch.dtype, layout: str, alphas: Sequence[float]
) -> Iterator[tuple[Sample, float]]:
    for turn, sample in enumerate(samples(device, dtype, layout, every_dim=False)):
        yield sample, alphas[turn % len(alphas)]


def expected_values(x: torch.Tensor, alpha: float) -> list[Term]:
    return [Term(reference.elu(value, alpha), 0.0) for value in elements(x)]


def expected_gradients(grad: torch.Tensor, x: torch.Tensor, alpha: float) -> list[Term]:
    pairs = zip(elements(grad), elements(x), strict=True)
    return [reference.mpelu_gradients(g, value, alpha)[0] for g, value in pairs]


@by_layout
@by_dtype
def test_values(device: torch.device, dtype: torch.dtype, layout: str) -> None:
    for sample, alpha in samples_and_alphas(device, dtype, layout, (*ELU_ALPHAS, -0.5)):
        before = sample.input.clone()
        output = ops.elu(sample.input, alpha)
        assert output.shape == sample.input.shape and output.dtype == dtype
        assert_values_close(output, expected_values(before, alpha), f"{sample.name}, {alpha=}")
        assert_same_bits(sample.input, before, f"input of {sample.name}")


@pytest.mark.parametrize("layout", WRITABLE_LAYOUTS)
@by_dtype
def test_in_place_equals_out_of_place(
    device: torch.device, dtype: torch.dtype, layout: str
) -> None:
    for sample, alpha in samples_and_alphas(device, dtype, layout, ELU_ALPHAS):
        expected = ops.elu(sample.input, alpha)
        assert ops.elu_(sample.input, alpha) is sample.input
        assert_same_bits(sample.input, expected, f"{sample.name}, {alpha=}")


@by_layout
@by_dtype
def test_gradients(device: torch.device, dtype: torch.dtype, layout: str) -> None:
    for sample, alpha in samples_and_alphas(device, dtype, layout, (*ELU_ALPHAS, -0.5)):
        grad_input = ops.elu_backward(sample.grad_output, sample.input, alpha)
        assert grad_input.shape == sample.input.shape and grad_input.dtype == dtype
        expected = expected_gradients(sample.grad_output, sample.input, alpha)
        assert_gradients_close(grad_input, expected, f"{sample.name}, {alpha=}")


@by_layout
@by_dtype
def test_gradients_from_result(device: torch.device, dtype: torch.dtype, layout: str) -> None:
    for sample, alpha in samples_and_alphas(device, dtype, layout, ELU_ALPHAS):
        result = ops.elu(sample.input, alpha)
        grad_input = ops.elu_backward(sample.grad_output, result, alpha, is_result=True)
        pairs = zip(elements(sample.grad_output), elements(result), strict=True)
        expected = [reference.elu_gradient_from_result(g, y, alpha) for g, y in pairs]
        assert_gradients_close(grad_input, expected, f"{sample.name}, {alpha=}")


@by_dtype
def test_large_tensor(device: torch.device, dtype: torch.dtype) -> None:
    x = make_values((3, 7, 3001), dtype, specials=special_values(dtype)).to(device)
    grad_output = make_values(x.shape, dtype, seed=1).to(device)
    assert_values_close(ops.elu(x, 0.25), expected_values(x, 0.25), "elu")
    expected = expected_gradients(grad_output, x, 0.25)
    assert_gradients_close(ops.elu_backward(grad_output, x, 0.25), expected, "elu_backward")


@by_dtype
def test_values_that_are_not_finite(device: torch.device, dtype: torch.dtype) -> None:
    for size in LAST_SIZES:
        x = make_values((size,), dtype, size, (*NON_FINITE, -0.0, 0.0)).to(device)
        grad_output = make_values((size,), dtype, size + 1, NON_FINITE).to(device)
        assert_values_close(ops.elu(x, 1.75), expected_values(x, 1.75), f"{size=}")
        grad_input = ops.elu_backward(grad_output, x, 1.75)
        expected = expected_gradients(grad_output, x, 1.75)
        assert_gradients_close(grad_input, expected, f"backward, {size=}")


@by_dtype
def test_sign_of_zero_is_kept(device: torch.device, dtype: torch.dtype) -> None:
    for size in LAST_SIZES:
        zeros = make_values((size,), dtype, size, (0.0, -0.0)).mul(0).to(device)
        assert_same_bits(ops.elu(zeros, 0.25), zeros, f"{size=}")


@by_dtype
def test_alpha_zero_is_relu_bit_for_bit(device: torch.device, dtype: torch.dtype) -> None:
    # The sign of torch.relu(-0.0) depends on the element's place, so no -0.0 here.
    specials = (*NON_FINITE, *(value for value in special_values(dtype) if value != 0), 0.0)
    for size in (*LAST_SIZES, 100_003):
        x = make_values((size,), dtype, size, specials).to(device)
        assert_same_bits(ops.elu(x, 0.0), torch.relu(x), f"{size=}")
        assert_same_bits(ops.elu_(x.clone(), 0.0), torch.relu(x), f"in place, {size=}")


@by_dtype
def test_gradient_of_alpha_zero_is_relu_s(device: torch.device, dtype: torch.dtype) -> None:
    for size in (*LAST_SIZES, 100_003):
        x = make_values((size,), dtype, size, special_values(dtype)).to(device)
        grad_output = make_values((size,), dtype, size + 1).to(device)
        expected = torch.where(x > 0, grad_output, torch.zeros_like(x))
        for is_result in (False, True):
            saved = torch.relu(x) if is_result else x
            grad_input = ops.elu_backward(grad_output, saved, 0.0, is_result)
            assert torch.equal(grad_input, expected), f"{size=}, {is_result=}"


def test_gradient_of_alpha_zero_at_zero_is_zero(device: torch.device) -> None:
    x = torch.zeros(5, device=device, requires_grad=True)
    ops.elu(x, 0.0).sum().backward()
    assert torch.equal(x.grad, torch.zeros_like(x))


@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_equals_torch_elu(device: torch.device, alpha: float) -> None:
    ours = make_values((4, 5, 67), torch.float32).to(device).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    output, expected = ops.elu(ours, alpha), torch.nn.functional.elu(theirs, alpha)
    torch.testing.assert_close(output, expected, **SAME_IN_FLOAT32)
    grad_output = make_values((4, 5, 67), torch.float32, seed=1).to(device)
    output.backward(grad_output)
    expected.backward(grad_output)
    torch.testing.assert_close(ours.grad, theirs.grad, **SAME_IN_FLOAT32)


def test_default_alpha_is_one(device: torch.device) -> None:
    x = make_values((67,), torch.float32).to(device)
    assert_same_bits(ops.elu(x), ops.elu(x, 1.0))
    assert_same_bits(ops.elu_(x.clone()), ops.elu(x, 1.0))
    assert_same_bits(ops.elu_backward(x, x), ops.elu_backward(x, x, 1.0, False))


def test_nan_alpha_is_nan_below_zero_alone(device: torch.device) -> None:
    output = ops.elu(torch.tensor([-1.0, 2.0], device=device), math.nan)
    assert output[0].isnan() and output[1] == 2


def test_what_autograd_refuses_in_place_is_not_written(device: torch.device) -> None:
    leaf = torch.full((3,), -1.0, device=device, requires_grad=True)
    for input in (leaf, leaf.view(3), leaf.clone().unbind()[0]):
        with pytest.raises(RuntimeError, match=r"in-place operation|modified inplace"):
            ops.elu_(input)
        assert (input == -1).all()


def test_a_view_written_in_place_is_freed_without_a_backward(device: torch.device) -> None:
    weight = torch.ones(3, device=device, requires_grad=True)
    hidden = torch.stack([weight - 2, weight])
    storage = weakref.ref(hidden.untyped_storage())
    ops.elu_(hidden[0])
    assert hidden.requires_grad and (hidden[0] < 0).all() and (hidden[1] == 1).all()
    del hidden
    assert storage() is None


def test_a_view_written_in_place_has_the_gradients_of_both_orders(device: torch.device) -> None:
    def function(x: torch.Tensor, alpha: float) -> torch.Tensor:
        y = x * 1
        ops.elu_(y.view(-1)[1:], alpha)
        return y

    x = torch.linspace(-2, 1, 6, dtype=torch.float64, device=device).view(2, 3).requires_grad_()
    assert torch.autograd.gradcheck(function, (x, 0.5))
    assert torch.autograd.gradgradcheck(function, (x, 0.5))
    expanded = (x * 1)[:1].expand(2, 3)
    with pytest.raises(RuntimeError, match="elu_: expected input without elements that share"):
        ops.elu_(expanded)


@pytest.mark.parametrize("op", ["elu_", "mpelu_"])
def test_functionalize_writes_a_tensor_from_outside(device: torch.device, op: str) -> None:
    outside, alpha = torch.full((3,), -1.0, device=device), torch.ones(1, device=device)
    arguments = () if op == "elu_" else (alpha,)

    def function(x: torch.Tensor) -> torch.Tensor:
        getattr(ops, op)(outside, *arguments)
        return x + 1

    torch.func.functionalize(function)(alpha)
    torch.testing.assert_close(outside, torch.expm1(torch.full_like(outside, -1.0)))
    if op == "mpelu_":
        with pytest.raises(RuntimeError, match="mpelu_: a parameter is a functional tensor"):
            torch.func.functionalize(lambda a: ops.mpelu_(outside, a))(alpha)


def test_negative_alpha_has_no_gradient_from_the_result(device: torch.device) -> None:
    x = torch.full((3,), -1.0, device=device)
    message = "elu_backward: expected alpha >= 0"
    with pytest.raises(RuntimeError, match=message):
        ops.elu_backward(x, x, -1.0, True)
    with pytest.raises(RuntimeError, match=message):
        torch.vmap(lambda g: ops.elu_backward(g, g, -1.0, True))(x)


@pytest.mark.parametrize("shape", ZERO_SIZES, ids=str)
def test_no_elements(device: torch.device, shape: tuple[int, ...]) -> None:
    x = torch.empty(shape, device=device, requires_grad=True)
    output = ops.elu(x, 0.5)
    output.backward(torch.empty_like(output))
    assert output.shape == x.grad.shape == shape
    assert ops.elu_(x.detach(), 0.5).shape == shape
