"""Gradients through autograd: against finite differences, to any order, and what they keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import reference
import torch
from formula import mpelu_formula
from samples import HALF_DTYPES, LAYOUTS, make_values
from tolerances import SAME_IN_FLOAT64, assert_gradients_close, assert_same_bits, elements
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

ops = torch.ops.mpelu
EVERYTHING = {
    "check_forward_ad": True,
    "check_batched_grad": True,
    "check_batched_forward_grad": True,
}


def away_from_zero(*shape: int, seed: int = 0) -> Tensor:
    """Finite differences need the derivative to be continuous around each value."""
    values = make_values(shape, torch.float64, seed) / 3
    return values + torch.where(values > 0, 0.1, -0.1)


def leaf(values: Tensor | Sequence[float], device: torch.device) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float64).to(device).requires_grad_()


def elu_in_a_row(x: Tensor) -> Tensor:
    """In place through a view: the gradient is the base's."""
    x = x.clone()
    ops.elu_(x.t()[1:], 0.75)
    return x


CHECKED: dict[str, tuple[Callable[..., Tensor], list[Tensor | list[float]]]] = {
    "elu": (lambda x: ops.elu(x, 0.75), [away_from_zero(3, 4)]),
    "elu, negative alpha": (lambda x: ops.elu(x, -0.75), [away_from_zero(3, 4)]),
    "elu, alpha 0": (lambda x: ops.elu(x, 0.0), [away_from_zero(3, 4)]),
    "elu_": (lambda x: ops.elu_(x.clone(), 0.75), [away_from_zero(3, 4)]),
    "elu_ of a view": (elu_in_a_row, [away_from_zero(3, 4)]),
    "spelu, shared": (ops.mpelu, [away_from_zero(2, 3), [0.5]]),
    "spelu, per channel": (ops.mpelu, [away_from_zero(2, 3, 2), [0.5, -1.5, 2]]),
    "mpelu, 0-d": (ops.mpelu, [away_from_zero(2, 3), torch.tensor(0.5), torch.tensor(1.5)]),
    "mpelu, per channel": (ops.mpelu, [away_from_zero(2, 3, 2), [0.5, -1.5, 2], [0.5, 1, -0.7]]),
    "mpelu, shared alpha": (ops.mpelu, [away_from_zero(2, 3, 2), [0.5], [0.5, 1, 1.5]]),
    "mpelu, shared beta": (ops.mpelu, [away_from_zero(2, 3, 2), [0.5, 1, 1.5], [0.5]]),
    "mpelu, first dim": (lambda *t: ops.mpelu(*t, 0), [away_from_zero(2, 3), [0.5, 1], [0.5, 2]]),
    "mpelu, last dim": (lambda *t: ops.mpelu(*t, -1), [away_from_zero(3, 2), [0.5, 1], [0.5, 2]]),
    "mpelu, vector": (ops.mpelu, [away_from_zero(3), [0.5, 1, 2], [1.5]]),
    "mpelu, scalar": (ops.mpelu, [away_from_zero(), [0.5], torch.tensor(1.5)]),
    "mpelu, transposed": (
        lambda x, *parameters: ops.mpelu(x.mT, *parameters),
        [away_from_zero(2, 2, 3), [0.5, 1, 1.5], [0.5, 1, 2]],
    ),
    "mpelu, one sample expanded": (
        lambda x, *parameters: ops.mpelu(x.expand(2, 3), *parameters),
        [away_from_zero(1, 3), [0.5, 1, 1.5], [0.5, 1, 2]],
    ),
    "elu_backward": (
        lambda g, x: ops.elu_backward(g, x, 0.75),
        [away_from_zero(3, 4), away_from_zero(3, 4, seed=1)],
    ),
    "elu_backward from the result": (
        lambda g, y: ops.elu_backward(g, y, 0.75, True),
        [away_from_zero(3, 4), away_from_zero(3, 4, seed=1)],
    ),
    "mpelu_backward": (
        ops.mpelu_backward,
        [away_from_zero(2, 3), away_from_zero(2, 3, seed=1), [0.5, 1, 2], [0.5, 1.5, -0.7]],
    ),
    "mpelu_backward without beta": (
        lambda *t: ops.mpelu_backward(*t)[:2],
        [away_from_zero(2, 3), away_from_zero(2, 3, seed=1), [0.5]],
    ),
}
by_check = pytest.mark.parametrize("case", CHECKED)


@by_check
def test_first_derivatives(device: torch.device, case: str) -> None:
    function, inputs = CHECKED[case]
    assert gradcheck(function, [leaf(values, device) for values in inputs], **EVERYTHING)


@by_check
def test_second_derivatives(device: torch.device, case: str) -> None:
    function, inputs = CHECKED[case]
    leaves = [leaf(values, device) for values in inputs]
    assert gradgradcheck(function, leaves, check_batched_grad=True, check_fwd_over_rev=True)


def test_second_derivatives_equal_those_of_the_formula(device: torch.device) -> None:
    def second_derivatives(function: Callable[..., Tensor], *wanted: int) -> list[Tensor]:
        leaves = [
            leaf(make_values((4, 3, 5), torch.float64, specials=(0.0, -20.0)), device),
            leaf([0.5, -1.5, 2.0], device),
            leaf([0.5, 1.5, -0.25], device),
        ]
        loss = (function(*leaves) ** 3).sum()
        gradients = torch.autograd.grad(loss, leaves, create_graph=True)
        loss = sum((gradients[index] ** 2).sum() for index in wanted)
        return list(torch.autograd.grad(loss, leaves))

    # also where only one of the three gradients is used
    for wanted in ((0, 1, 2), (0,), (1,), (2,)):
        actual = second_derivatives(ops.mpelu, *wanted)
        expected = second_derivatives(mpelu_formula, *wanted)
        torch.testing.assert_close(actual, expected, **SAME_IN_FLOAT64)


def test_second_derivative_of_elu_equals_that_of_the_formula(device: torch.device) -> None:
    def second_derivative(function: Callable[[Tensor], Tensor]) -> Tensor:
        x = leaf(make_values((4, 15), torch.float64, specials=(0.0, -20.0)), device)
        (gradient,) = torch.autograd.grad((function(x) ** 3).sum(), x, create_graph=True)
        return torch.autograd.grad((gradient**2).sum(), x)[0]

    expected = second_derivative(lambda x: torch.nn.functional.elu(x, 0.75))
    for op in (lambda x: ops.elu(x, 0.75), lambda x: ops.elu_(x * 1, 0.75)):
        torch.testing.assert_close(second_derivative(op), expected, **SAME_IN_FLOAT64)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_autograd_equals_the_reference(device: torch.device, layout: str) -> None:
    """In the layout of a gradient that autograd itself makes: expanded, from a sum."""
    rank = LAYOUTS[layout].ranks[-1]
    shape = (2, 3, 4, 5, 6)[:rank]
    x = LAYOUTS[layout].arrange(make_values(shape, torch.float32).to(device)).requires_grad_()
    alpha = torch.tensor([0.5, -1.5, 2.0], device=device, requires_grad=True)
    beta = torch.tensor([1.5, 0.5, 1.0], device=device, requires_grad=True)
    dim = shape.index(3)
    ops.mpelu(x, alpha, beta, dim).sum().backward()
    channels = reference.channels_of(shape, dim)
    parameters = elements(alpha), elements(beta)
    expected = reference.mpelu_backward([1.0] * x.numel(), elements(x), channels, *parameters)
    for tensor, terms, name in zip((x, alpha, beta), expected, ("x", "alpha", "beta"), strict=True):
        assert_gradients_close(tensor.grad, terms, f"gradient to {name}")


@pytest.mark.parametrize("frozen", ["input", "alpha", "beta", "input alpha", "alpha beta"])
def test_gradients_of_some_tensors_alone(device: torch.device, frozen: str) -> None:
    def gradients(frozen: str) -> dict[str, Tensor | None]:
        tensors = {
            "input": make_values((4, 3, 5), torch.float32).to(device),
            "alpha": torch.tensor([0.5, -1.5, 2.0], device=device),
            "beta": torch.tensor([1.5, 0.5, 1.0], device=device),
        }
        for name, tensor in tensors.items():
            tensor.requires_grad_(name not in frozen.split())
        ops.mpelu(*tensors.values()).square().sum().backward()
        return {name: tensor.grad for name, tensor in tensors.items()}

    expected = gradients("")
    for name, gradient in gradients(frozen).items():
        if name in frozen.split():
            assert gradient is None
        else:
            assert_same_bits(gradient, expected[name], name)


@pytest.mark.parametrize("dtype", HALF_DTYPES, ids=str)
@pytest.mark.parametrize("parameter_dtype", ["input's", "float32"])
def test_gradients_have_their_tensors_dtypes(
    device: torch.device, dtype: torch.dtype, parameter_dtype: str
) -> None:
    x = make_values((4, 3, 5), dtype).to(device).requires_grad_()
    alpha = torch.ones(3, device=device)
    alpha = (alpha if parameter_dtype == "float32" else alpha.to(dtype)).requires_grad_()
    beta = torch.ones(1, device=device, requires_grad=True)  # the two may differ
    output = ops.mpelu(x, alpha, beta)
    output.sum().backward()
    assert output.dtype == x.grad.dtype == dtype
    assert alpha.grad.dtype == alpha.dtype and beta.grad.dtype == torch.float32


def saved_by(function: Callable[[], Tensor]) -> list[Tensor]:
    saved: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        function()
    return saved


def addresses(tensors: Sequence[Tensor]) -> list[int]:
    return sorted(tensor.data_ptr() for tensor in tensors)


def test_input_and_parameters_alone_are_saved(device: torch.device) -> None:
    x = make_values((4, 3, 5), torch.float32).to(device).requires_grad_()
    alpha = torch.ones(3, device=device, requires_grad=True)
    beta = torch.ones(3, device=device, requires_grad=True)
    assert addresses(saved_by(lambda: ops.elu(x, 0.5))) == addresses([x])
    assert addresses(saved_by(lambda: ops.mpelu(x, alpha))) == addresses([x, alpha])
    assert addresses(saved_by(lambda: ops.mpelu(x, alpha, beta))) == addresses([x, alpha, beta])
    in_place = x * 1
    assert addresses(saved_by(lambda: ops.elu_(in_place, 0.5))) == addresses([in_place])


def test_nothing_is_kept_where_no_gradient_is_needed(device: torch.device) -> None:
    x = make_values((4, 3, 5), torch.float32).to(device).requires_grad_()
    alpha = torch.ones(3, device=device, requires_grad=True)
    with torch.no_grad():
        outputs = [ops.elu(x, 0.5), ops.mpelu(x, alpha), ops.elu_(x.clone(), 0.5)]
    outputs += [ops.elu(x.detach(), 0.5), ops.mpelu(x.detach(), alpha.detach())]
    assert not any(output.requires_grad for output in outputs)
    assert saved_by(lambda: ops.mpelu(x.detach(), alpha.detach(), None)) == []


def test_inference_mode(device: torch.device) -> None:
    x = make_values((4, 3, 5), torch.float32).to(device)
    alpha = torch.ones(3, device=device, requires_grad=True)
    expected = [ops.elu(x, 0.5), ops.mpelu(x, alpha)]
    with torch.inference_mode():
        outputs = [ops.elu(x, 0.5), ops.mpelu(x, alpha)]
        in_place = [ops.elu_(x.clone(), 0.5), ops.mpelu_(x.clone(), alpha)]
    for actual in (outputs, in_place):
        assert not any(output.requires_grad for output in actual)
        for output, value in zip(actual, expected, strict=True):
            assert_same_bits(output, value)


def test_writing_in_place_is_noticed_by_who_saved_the_tensor(device: torch.device) -> None:
    alpha = torch.ones((), device=device)
    for op in (ops.elu_, lambda x: ops.mpelu_(x, alpha)):
        x = make_values((4, 3), torch.float32).to(device).requires_grad_()
        saved = x.exp()
        loss = saved.sum()
        with torch.no_grad():
            op(saved)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


def test_changing_a_saved_tensor_is_noticed(device: torch.device) -> None:
    x = make_values((4, 3, 5), torch.float32).to(device).requires_grad_()
    alpha = torch.ones(3, device=device, requires_grad=True)
    output = ops.mpelu(x, alpha)
    with torch.no_grad():
        alpha.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_elu_in_place_on_a_leaf_that_needs_a_gradient_is_torch_s_error() -> None:
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        ops.elu_(torch.ones(3, requires_grad=True), 0.5)


def test_elu_in_place_gradient_equals_out_of_place(device: torch.device) -> None:
    grad_output = make_values((4, 3, 5), torch.float64, seed=1).to(device)
    gradients = []
    for op in (lambda x: ops.elu(x, 0.5), lambda x: ops.elu_(x * 1, 0.5)):
        x = leaf(make_values((4, 3, 5), torch.float64, specials=(0.0,)), device)
        op(x).backward(grad_output)
        gradients.append(x.grad)
    torch.testing.assert_close(gradients[1], gradients[0], **SAME_IN_FLOAT64)


@pytest.mark.parametrize("dtype", HALF_DTYPES, ids=str)
def test_autocast(device: torch.device, dtype: torch.dtype) -> None:
    """Half activations meet float32 parameters; a float32 activation stays float32."""
    layer = torch.nn.Linear(5, 3).to(device)
    alpha = torch.full((3,), 0.5, device=device, requires_grad=True)
    beta = torch.full((3,), 1.5, device=device, requires_grad=True)
    x = make_values((4, 5), torch.float32).to(device)
    with torch.autocast(device.type, dtype):
        activation = layer(x)
        output = ops.mpelu(activation, alpha, beta)
        assert activation.dtype == output.dtype == dtype
        assert ops.elu(activation).dtype == dtype
        assert ops.mpelu(x, torch.ones((), device=device)).dtype == torch.float32
        loss = output.float().sum()
    loss.backward()
    assert alpha.grad.dtype == beta.grad.dtype == layer.weight.grad.dtype == torch.float32
    assert_same_bits(output, ops.mpelu(activation.detach(), alpha, beta))
