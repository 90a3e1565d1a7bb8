"""batch_norm_mpelu under torch's transforms: derivatives, vmap, torch.compile, torch.export."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from batch_norm_samples import (
    DIFFERENTIABLE,
    EPS,
    KINDS,
    LAYOUTS,
    MOMENTUM,
    Arguments,
    fused,
    make_arguments,
    pair,
)
from samples import DTYPES
from tolerances import SAME_IN_FLOAT64
from torch import Tensor
from torch.func import functional_call, grad, jacfwd, jacrev, vmap

import mpelu
import mpelu.functional as MF

ops = torch.ops.mpelu


@pytest.mark.parametrize("half", ["weight", "running_mean", "alpha"])
@pytest.mark.parametrize("training", [True, False])
def test_forward_mode_takes_the_dtypes_that_the_kernels_take(half, training, device):
    a = make_arguments((8, 3, 5)).to(device).to(torch.float32)._replace(training=training)
    a = a._replace(input=a.input.bfloat16(), **{half: getattr(a, half).bfloat16()})
    tracked = ("running_mean", "running_var")
    copies = a._replace(**{name: getattr(a, name).clone() for name in tracked})
    expected = fused(a)
    actual, tangent = torch.func.jvp(
        lambda x: fused(copies._replace(input=x)), (a.input,), (torch.ones_like(a.input),)
    )
    torch.testing.assert_close(actual, expected)
    assert tangent.dtype == torch.bfloat16
    for name in tracked:
        torch.testing.assert_close(getattr(copies, name), getattr(a, name))


@pytest.mark.parametrize("shape", [(0, 3), (2, 3, 0), (0, 3, 4)], ids=str)
def test_forward_mode_takes_an_empty_batch(shape, device):
    x, alpha = torch.empty(shape, device=device), torch.ones(3, device=device)
    running = [torch.ones(3, device=device) for _ in range(2)]

    def function(x: Tensor) -> tuple[Tensor, ...]:
        return ops.batch_norm_mpelu(x, None, None, *running, alpha, None, True, 0.1, EPS)

    actual, _ = torch.func.jvp(function, (x,), (x,))
    for one, other in zip(actual, function(x), strict=True):
        torch.testing.assert_close(one, other)
    assert all((statistic == 1).all() for statistic in running)


def of_tensors(
    function: Callable[..., Tensor], arguments: Arguments
) -> tuple[Callable[..., Tensor], list[Tensor]]:
    """A function of the differentiable tensors alone, and these."""
    names = [name for name in DIFFERENTIABLE if getattr(arguments, name) is not None]

    def of_these(*tensors: Tensor) -> Tensor:
        replaced = arguments._replace(**dict(zip(names, tensors, strict=True)))
        return function(replaced, momentum=0.0)

    return of_these, [t.clone().requires_grad_() for t in arguments.differentiable()]


@pytest.mark.parametrize("kind", KINDS)
def test_first_and_second_derivatives(kind, device):
    function, inputs = of_tensors(fused, make_arguments((4, 3, 5), kind).to(device))
    assert torch.autograd.gradcheck(function, inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize("kind", KINDS)
def test_double_backward_is_that_of_the_pair(kind, device):
    a = make_arguments((6, 3, 4, 5), kind).to(device)
    results = []
    for function, inputs in (of_tensors(fused, a), of_tensors(pair, a)):
        first = torch.autograd.grad(function(*inputs).pow(3).sum(), inputs, create_graph=True)
        scalar = sum(gradient.square().mean() for gradient in first)
        results.append((*first, *torch.autograd.grad(scalar, inputs)))
    for actual, expected in zip(*results, strict=True):
        scale = 1 + expected.abs().max().item()
        torch.testing.assert_close(actual / scale, expected / scale, **SAME_IN_FLOAT64)


def cubes(make: Callable[..., Tensor], arguments: Arguments) -> tuple[Callable, list[Tensor]]:
    """A scalar function of the differentiable tensors, and these."""
    function, inputs = of_tensors(make, arguments)
    return lambda *tensors: function(*tensors).pow(3).mean(), inputs


@pytest.mark.parametrize("jacobian", [jacrev, jacfwd])
@pytest.mark.parametrize("training", [True, False])
def test_derivatives_by_torch_func_are_those_of_the_pair(jacobian, training, device):
    a = make_arguments((4, 3, 2), (training, True, True, True)).to(device)
    results = []
    for make in (fused, pair):
        scalar, inputs = cubes(make, a)
        results.append(jacobian(scalar, argnums=tuple(range(len(inputs))))(*inputs))
    torch.testing.assert_close(*results, **SAME_IN_FLOAT64)


@pytest.mark.parametrize("outer", [jacrev, jacfwd])
@pytest.mark.parametrize("inner", [jacrev, jacfwd])
@pytest.mark.parametrize("training", [True, False])
def test_second_derivatives_by_torch_func_are_those_by_autograd(outer, inner, training, device):
    """Of the pair by autograd: torch.func has wrong ones of torch's own batch norm in training."""
    a = make_arguments((4, 3, 2), (training, True, True, True)).to(device)
    scalar, inputs = cubes(fused, a)
    argnums = tuple(range(len(inputs)))
    actual = outer(inner(scalar, argnums), argnums)(*inputs)
    scalar, inputs = cubes(pair, a)
    expected = torch.autograd.functional.hessian(scalar, tuple(inputs))
    scale = 1 + max(block.abs().max().item() for row in expected for block in row)
    for actual_row, expected_row in zip(actual, expected, strict=True):
        for one, other in zip(actual_row, expected_row, strict=True):
            torch.testing.assert_close(one / scale, other / scale, **SAME_IN_FLOAT64)


@pytest.mark.parametrize("training", [True, False])
def test_vmap_over_parameters(training, device):
    a = make_arguments((4, 3, 2), (training, True, True, True)).to(device)
    function, (x, *parameters) = of_tensors(fused, a)
    several = [torch.stack([p, p + 1, 2 * p]).detach() for p in parameters]
    actual = vmap(function, (None, *[0] * len(several)))(x, *several)
    expected = [function(x, *each) for each in zip(*several, strict=True)]
    torch.testing.assert_close(actual, torch.stack(expected), **SAME_IN_FLOAT64)


def check_operators(a: Arguments) -> None:
    """opcheck of the operator, of the one for evaluation, and of their backward."""
    torch.library.opcheck(ops.batch_norm_mpelu.default, (*a, MOMENTUM, EPS))
    if not a.training:
        torch.library.opcheck(ops.batch_norm_mpelu_evaluation.default, (*a[:-1], EPS))
    output, *statistics = ops.batch_norm_mpelu(*a, MOMENTUM, EPS)
    torch.library.opcheck(
        ops.batch_norm_mpelu_backward.default,
        (torch.randn_like(output), *a[:3], *statistics, a.alpha, a.beta, a.training, EPS),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_opcheck(kind, device):
    a = make_arguments((4, 3, 5), kind).to(device)
    for tensor in a.differentiable():
        tensor.requires_grad_()
    check_operators(a)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_opcheck_of_layouts_and_dtypes(layout, dtype, device):
    a = make_arguments((4, 3, 5, 2)).to(device).to(torch.promote_types(dtype, torch.float32))
    a = a._replace(input=LAYOUTS[layout](a.input.to(dtype)))
    for tensor in a.differentiable():
        tensor.requires_grad_()
    check_operators(a)


def test_vmap_over_the_statistics_of_evaluation(device):
    a = make_arguments((4, 3, 2), (False, True, True, True)).to(device)
    statistics = [torch.stack([s, s + 1, 2 * s]) for s in (a.running_mean, a.running_var)]

    def of_statistics(mean: Tensor, var: Tensor) -> Tensor:
        return MF.batch_norm_mpelu(a.input, mean, var, a.alpha, a.beta, a.weight, a.bias)

    expected = [of_statistics(*each) for each in zip(*statistics, strict=True)]
    actual = vmap(of_statistics)(*statistics)
    torch.testing.assert_close(actual, torch.stack(expected), **SAME_IN_FLOAT64)


def test_functionalize_takes_evaluation(device):
    module = mpelu.BatchNormMPELU1d(3, device=device).eval()
    x = torch.randn(4, 3, device=device)
    torch.testing.assert_close(torch.func.functionalize(module)(x), module(x))


@pytest.mark.parametrize("training", [True, False])
def test_functional_transforms(training, device):
    module = mpelu.BatchNormMPELU1d(3, dtype=torch.float64, device=device).train(training)
    state = dict(module.named_parameters())
    x = torch.randn(6, 4, 3, 5, dtype=torch.float64, device=device)

    def loss(state: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(copy.deepcopy(module), state, (x,)).square().sum()

    def plain(weight: Tensor, x: Tensor) -> Tensor:
        statistics = (None, None) if training else (module.running_mean, module.running_var)
        return (
            MF.batch_norm_mpelu(
                x, *statistics, module.alpha, module.beta, weight, module.bias, training
            )
            .square()
            .sum()
        )

    expected = torch.stack(
        [torch.autograd.grad(plain(module.weight, each), module.weight)[0] for each in x]
    )
    torch.testing.assert_close(
        vmap(grad(plain), (None, 0))(module.weight, x), expected, **SAME_IN_FLOAT64
    )
    gradients = grad(loss)(state, x[0])
    torch.testing.assert_close(gradients["weight"], expected[0], **SAME_IN_FLOAT64)


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_and_exported_modules_update_their_statistics(dynamic, device):
    module = mpelu.BatchNormMPELU2d(4).to(device)
    compiled = copy.deepcopy(module)
    x = torch.randn(8, 4, 6, 6, device=device)
    run = torch.compile(compiled, fullgraph=True, dynamic=dynamic)
    expected, actual = module(x), run(x)
    torch.testing.assert_close(actual, expected)
    actual.sum().backward()
    expected.sum().backward()
    for (name, one), (_, other) in zip(
        module.state_dict().items(), compiled.state_dict().items(), strict=True
    ):
        torch.testing.assert_close(other, one, msg=name)
    for one, other in zip(module.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad)
    exported = torch.export.export(module.eval(), (x,)).module()
    torch.testing.assert_close(exported(x), module(x))


@pytest.mark.parametrize("training", [True, False])
def test_compiled_autograd(training, device):
    a = make_arguments((6, 3, 4), (training, True, True, True)).to(device)
    function, inputs = of_tensors(fused, a)
    expected = torch.autograd.grad(function(*inputs).square().sum(), inputs)
    with torch._dynamo.compiled_autograd._enable(
        torch.compile(fullgraph=True, backend="aot_eager")
    ):
        function(*inputs).square().sum().backward()
    actual = tuple(tensor.grad for tensor in inputs)
    torch.testing.assert_close(actual, expected, **SAME_IN_FLOAT64)
