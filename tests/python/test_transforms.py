"""torch.func: every transform of the ops equals the transform of the formula."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from formula import mpelu_formula
from samples import make_values
from tolerances import SAME_IN_FLOAT64
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

ops = torch.ops.mpelu

# functorch's loop over the slices, in place of a batching rule
pytestmark = pytest.mark.filterwarnings("error:There is a performance drop")


@pytest.fixture
def x(device: torch.device) -> Tensor:
    return make_values((4, 3, 5), torch.float64, specials=(0.0, -20.0)).to(device)


@pytest.fixture
def alpha(device: torch.device) -> Tensor:
    return torch.tensor([0.5, -1.5, 2.0], dtype=torch.float64, device=device)


@pytest.fixture
def beta(device: torch.device) -> Tensor:
    return torch.tensor([1.5, 0.5, -0.25], dtype=torch.float64, device=device)


def elu_formula(x: Tensor) -> Tensor:
    return torch.nn.functional.elu(x, 0.75)


def elu(x: Tensor) -> Tensor:
    return ops.elu(x, 0.75)


def elu_in_place(x: Tensor) -> Tensor:
    return ops.elu_(x.clone(), 0.75)


def loss_of(op: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda *tensors: (op(*tensors) ** 3).sum()


def assert_equal_transforms(transform: Callable, *tensors: Tensor) -> None:
    """`transform(op)(*tensors)` for mpelu; for elu, elu_ and SPELU with the tensors they take."""
    x, alpha, _ = tensors
    for op, formula, arguments in (
        (ops.mpelu, mpelu_formula, tensors),
        (ops.mpelu, mpelu_formula, (x, alpha)),
        (elu, elu_formula, (x,)),
        (elu_in_place, elu_formula, (x,)),
    ):
        actual, expected = transform(op)(*arguments), transform(formula)(*arguments)
        torch.testing.assert_close(actual, expected, **SAME_IN_FLOAT64)


def test_grad(x: Tensor, alpha: Tensor, beta: Tensor) -> None:
    assert_equal_transforms(lambda op: grad(loss_of(op)), x, alpha, beta)
    for argnums in (1, 2, (0, 1, 2)):
        actual = grad(loss_of(ops.mpelu), argnums)(x, alpha, beta)
        expected = grad(loss_of(mpelu_formula), argnums)(x, alpha, beta)
        torch.testing.assert_close(actual, expected, **SAME_IN_FLOAT64)


def test_grad_of_grad(x: Tensor, alpha: Tensor, beta: Tensor) -> None:
    def twice(op: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return grad(loss_of(grad(loss_of(op))))

    assert_equal_transforms(twice, x, alpha, beta)


def test_vjp(x: Tensor, alpha: Tensor, beta: Tensor) -> None:
    def pull_back(op: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, ...]]:
        def gradients(*tensors: Tensor) -> tuple[Tensor, ...]:
            output, function = vjp(op, *tensors)
            return (output, *function(output.cos()))

        return gradients

    assert_equal_transforms(pull_back, x, alpha, beta)


def test_jvp(x: Tensor, alpha: Tensor, beta: Tensor) -> None:
    def push_forward(op: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, Tensor]]:
        return lambda *tensors: jvp(op, tensors, tuple(tensor.cos() for tensor in tensors))

    assert_equal_transforms(push_forward, x, alpha, beta)


def test_jvp_of_grad(x: Tensor, alpha: Tensor, beta: Tensor) -> None:
    def hessian_vector_product(op: Callable[..., Tensor]) -> Callable:
        gradient = grad(loss_of(op))
        return lambda *tensors: jvp(gradient, tensors, tuple(tensor.cos() for tensor in tensors))

    assert_equal_transforms(hessian_vector_product, x, alpha, beta)


@pytest.mark.parametrize("jacobian", [jacrev, jacfwd])
def test_jacobians(jacobian: Callable, x: Tensor, alpha: Tensor, beta: Tensor) -> None:
    assert_equal_transforms(jacobian, x, alpha, beta)
    actual = jacobian(ops.mpelu, (0, 1, 2))(x, alpha, beta)
    expected = jacobian(mpelu_formula, (0, 1, 2))(x, alpha, beta)
    torch.testing.assert_close(actual, expected, **SAME_IN_FLOAT64)


def test_hessian(x: Tensor, alpha: Tensor, beta: Tensor) -> None:
    x = x[:1, :, :2]
    assert_equal_transforms(lambda op: hessian(loss_of(op)), x, alpha, beta)
    actual = hessian(loss_of(ops.mpelu), (0, 1, 2))(x, alpha, beta)
    expected = hessian(loss_of(mpelu_formula), (0, 1, 2))(x, alpha, beta)
    torch.testing.assert_close(actual, expected, **SAME_IN_FLOAT64)


def stacked(op: Callable[..., Tensor], in_dims: tuple, size: int) -> Callable[..., Tensor]:
    """What vmap means: the op on each slice."""

    def run(*tensors: Tensor) -> Tensor:
        pairs = list(zip(tensors, in_dims, strict=True))
        slices = (
            [tensor if dim is None else tensor.select(dim, index) for tensor, dim in pairs]
            for index in range(size)
        )
        return torch.stack([op(*arguments) for arguments in slices])

    return run


# in_dims for input, alpha, beta; None: not batched
VMAP_IN_DIMS = [
    (0, None, None),
    (2, None, None),
    (-1, None, None),
    (None, 0, None),
    (None, None, 1),
    (None, 1, 0),
    (0, 0, None),
    (1, None, 0),
    (0, 1, 0),
    (3, 0, 1),
]


VMAP_CASES = [
    (kind, in_dims)
    for kind in ("per channel", "shared", "0-d")
    for in_dims in VMAP_IN_DIMS
    if kind != "0-d" or 1 not in in_dims[1:]  # a batch of 0-d parameters has dimension 0 alone
]


@pytest.mark.parametrize(("kind", "in_dims"), VMAP_CASES, ids=str)
def test_vmap(device: torch.device, kind: str, in_dims: tuple) -> None:
    size = 6

    def batched(shape: list[int], dim: int | None, seed: int) -> Tensor:
        if dim is not None:
            shape.insert(dim if dim >= 0 else len(shape) + 1 + dim, size)
        return make_values(shape, torch.float64, seed).to(device)

    shape = {"per channel": [3], "shared": [1], "0-d": []}[kind]
    x = batched([4, 3, 5], in_dims[0], seed=0)
    alpha = batched(list(shape), in_dims[1], seed=1)
    beta = batched(list(shape), in_dims[2], seed=2).tanh()

    def gradients(*tensors: Tensor) -> Tensor:
        gradients = ops.mpelu_backward(tensors[0].cos(), *tensors)
        return torch.cat([gradient.reshape(-1) for gradient in gradients])

    for op in (ops.mpelu, gradients):
        actual = vmap(op, in_dims)(x, alpha, beta)
        expected = stacked(op, in_dims, size)(x, alpha, beta)
        torch.testing.assert_close(actual, expected, **SAME_IN_FLOAT64)


@pytest.mark.parametrize("dim", [0, 1, -1, -3])
def test_vmap_counts_dim_in_the_slice(device: torch.device, dim: int) -> None:
    x = make_values((4, 2, 3, 5), torch.float64).to(device)
    parameter = torch.linspace(0.5, 2, x[0].shape[dim], dtype=x.dtype, device=device)

    def op(x: Tensor) -> Tensor:
        return ops.mpelu(x, parameter, parameter, dim)

    expected = stacked(op, (0,), len(x))(x)
    torch.testing.assert_close(vmap(op)(x), expected, **SAME_IN_FLOAT64)


def test_vmap_of_vectors_and_scalars(x: Tensor, alpha: Tensor, beta: Tensor) -> None:
    """A slice with fewer than two dimensions has its channels in dim 0, as outside of vmap."""
    vectors = x[:, :, 0]
    expected = mpelu_formula(vectors, alpha, beta)
    actual = vmap(ops.mpelu, (0, None, None))(vectors, alpha, beta)
    torch.testing.assert_close(actual, expected, **SAME_IN_FLOAT64)
    actual = vmap(ops.mpelu, (0, 0, 0))(vectors[0], alpha, beta)
    torch.testing.assert_close(actual, expected[0], **SAME_IN_FLOAT64)


def test_vmap_in_vmap(x: Tensor, alpha: Tensor, beta: Tensor) -> None:
    inner = vmap(ops.mpelu, (0, None, None))
    actual = vmap(inner, (2, None, None), 2)(x, alpha, beta)
    torch.testing.assert_close(actual, mpelu_formula(x, alpha, beta), **SAME_IN_FLOAT64)


def test_vmap_of_elu(x: Tensor) -> None:
    for in_dim in (0, 1, -1):
        expected = elu_formula(x.movedim(in_dim, 0))
        for op in (elu, elu_in_place, lambda x: ops.elu_(x * 1, 0.75)):
            torch.testing.assert_close(vmap(op, in_dim)(x), expected, **SAME_IN_FLOAT64)
    grad_output = x.cos()
    expected = ops.elu_backward(grad_output, x, 0.75)
    for is_result, saved in ((False, x), (True, elu(x))):
        backward = vmap(lambda g, y, r=is_result: ops.elu_backward(g, y, 0.75, r))
        torch.testing.assert_close(backward(grad_output, saved), expected, **SAME_IN_FLOAT64)


def test_vmap_writes_in_place(x: Tensor, alpha: Tensor, beta: Tensor) -> None:
    for op, expected in (
        (lambda x: ops.elu_(x, 0.75), elu_formula(x)),
        (lambda x: ops.mpelu_(x, alpha, beta, 0), mpelu_formula(x, alpha, beta)),
    ):
        written = x.clone()
        vmap(op)(written)
        torch.testing.assert_close(written, expected, **SAME_IN_FLOAT64)


def test_vmap_of_half_input_keeps_its_dtype(device: torch.device) -> None:
    x = make_values((4, 3, 5), torch.bfloat16).to(device)
    parameter = torch.tensor([0.5, 1.5, 2.0], device=device)
    output = vmap(lambda x: ops.mpelu(x, parameter, parameter, 0))(x)
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output, ops.mpelu(x, parameter, parameter))


def test_per_sample_gradients(x: Tensor, alpha: Tensor, beta: Tensor) -> None:
    def loss(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
        return (ops.mpelu(x, alpha, beta, 0) ** 3).sum()

    actual = vmap(grad(loss, (0, 1, 2)), (0, None, None))(x, alpha, beta)
    for index, sample in enumerate(x):
        expected = grad(loss_of(mpelu_formula), (0, 1, 2))(sample[None], alpha, beta)
        torch.testing.assert_close(actual[0][index], expected[0][0], **SAME_IN_FLOAT64)
        torch.testing.assert_close(actual[1][index], expected[1], **SAME_IN_FLOAT64)
        torch.testing.assert_close(actual[2][index], expected[2], **SAME_IN_FLOAT64)


def test_ensemble_of_models(device: torch.device) -> None:
    """functional_call with stacked parameters under vmap, and its gradients."""

    class Activation(torch.nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.alpha = torch.nn.Parameter(torch.full((3,), value, dtype=torch.float64))
            self.beta = torch.nn.Parameter(torch.full((3,), 2 * value, dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            return ops.mpelu(x, self.alpha, self.beta)

    models = [Activation(value).to(device) for value in (0.25, 0.5, 0.75)]
    parameters, _ = torch.func.stack_module_state(models)
    x = make_values((4, 3, 5), torch.float64).to(device)

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        return (functional_call(models[0], parameters, (x,)) ** 3).sum()

    losses, gradients = vmap(torch.func.grad_and_value(loss))(parameters)[::-1]
    for index, model in enumerate(models):
        expected = (model(x) ** 3).sum()
        expected.backward()
        torch.testing.assert_close(losses[index], expected, **SAME_IN_FLOAT64)
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(gradients[name][index], parameter.grad, **SAME_IN_FLOAT64)


def test_forward_mode_with_one_tangent(x: Tensor, alpha: Tensor, beta: Tensor) -> None:
    """torch.autograd.forward_ad, where only some arguments carry a tangent."""
    tensors = (x, alpha, beta)
    for dual_index in range(3):
        tangents = [torch.zeros_like(tensor) for tensor in tensors]
        tangents[dual_index] = tensors[dual_index].cos()
        _, expected = jvp(mpelu_formula, tensors, tuple(tangents))
        with forward_ad.dual_level():
            duals = list(tensors)
            duals[dual_index] = forward_ad.make_dual(tensors[dual_index], tangents[dual_index])
            actual = forward_ad.unpack_dual(ops.mpelu(*duals)).tangent
        torch.testing.assert_close(actual, expected, **SAME_IN_FLOAT64)
