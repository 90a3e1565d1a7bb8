"""What a kernel's host has torch do: on a GPU each of its operators would be one more launch.

The CUDA operators' hosts run emulated, with --emulate-cuda; the CPU's keep to the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from samples import make_values
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

import mpelu.functional as MF

# Those that launch nothing. aten::to returns a tensor of the dtype asked for as it is, and has
# aten::_to_copy make another one.
LAUNCH_NOTHING = {
    *(f"aten::{name}" for name in ("empty", "empty_like", "empty_strided")),
    *(f"aten::{name}" for name in ("as_strided", "detach", "to", "view")),
}
# The other operators of a conversion.
CONVERSION = {"aten::_to_copy", "aten::copy_"}

FLOAT, BFLOAT = torch.float32, torch.bfloat16


def operators(function: Callable[[], object]) -> tuple[object, Counter[str]]:
    """What function() returns, and how often it calls which of torch's operators that launch."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        result = function()
    names = [event.name for event in profiler.events()]
    assert any(name.startswith("mpelu::") for name in names), names
    aten = (name for name in names if name.startswith("aten::"))
    return result, Counter(name for name in aten if name not in LAUNCH_NOTHING)


def forward_and_backward(
    function: Callable[..., Tensor], *tensors: Tensor
) -> tuple[Counter[str], Counter[str]]:
    """What operators() counts in function(*tensors) and in its backward."""
    leaves = [tensor.requires_grad_() for tensor in tensors]
    output, forward = operators(lambda: function(*leaves))
    grad_output = torch.ones_like(output)
    _, backward = operators(lambda: torch.autograd.grad(output, leaves, grad_output))
    return forward, backward


def parameters(number: int, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    return [torch.linspace(0.5, 2, 3, dtype=dtype, device=device) for _ in range(number)]


@pytest.fixture(params=[(2, 3, 5), (40, 3, 500)], ids=["small", "large"])
def shape(request: pytest.FixtureRequest) -> tuple[int, ...]:
    """Where a block has all of a channel, and where sums go through a workspace."""
    return request.param


@pytest.mark.parametrize(
    ("dtype", "parameter_dtype"), [(FLOAT, FLOAT), (BFLOAT, BFLOAT), (BFLOAT, FLOAT)], ids=str
)
def test_hosts_launch_nothing_but_kernels_where_parameters_agree(
    shape: tuple[int, ...], dtype: torch.dtype, parameter_dtype: torch.dtype, device: torch.device
) -> None:
    x = make_values(shape, dtype).to(device)
    alpha, beta, weight, bias = parameters(4, parameter_dtype, device)
    mean, variance = parameters(2, torch.float32, device)

    def batch_norm(training: bool) -> Callable[..., Tensor]:
        return lambda x, *rest: MF.batch_norm_mpelu(x, mean, variance, *rest, training=training)

    counts = {
        "elu": forward_and_backward(MF.elu, x),
        "spelu": forward_and_backward(MF.spelu, x, alpha),
        "mpelu": forward_and_backward(MF.mpelu, x, alpha, beta),
        **{
            f"batch norm, {training=}": forward_and_backward(
                batch_norm(training), x, alpha, beta, weight, bias
            )
            for training in (False, True)
        },
    }
    assert counts == dict.fromkeys(counts, (Counter(), Counter()))
    with torch.no_grad():
        assert operators(lambda: MF.elu(x, inplace=True))[1] == Counter()
        assert operators(lambda: torch.ops.mpelu.mpelu_(x, alpha, beta))[1] == Counter()


def test_hosts_convert_only_the_parameters_of_another_dtype(
    shape: tuple[int, ...], device: torch.device
) -> None:
    """CUDA's kernels read all parameters in one dtype: bfloat16's become float32, and the gradients
    bfloat16 again."""
    x = make_values(shape, BFLOAT).to(device)
    (alpha, weight), (beta, bias) = parameters(2, FLOAT, device), parameters(2, BFLOAT, device)
    mean, variance = parameters(2, torch.float32, device)

    def batch_norm(x: Tensor, *rest: Tensor) -> Tensor:
        return MF.batch_norm_mpelu(x, mean, variance, *rest, training=True)

    for function, tensors, converted in (
        (MF.mpelu, (x, alpha, beta), 1),
        (batch_norm, (x, alpha, beta, weight, bias), 2),
    ):
        forward, backward = forward_and_backward(function, *tensors)
        assert set(forward | backward) <= CONVERSION
        assert forward["aten::copy_"] <= converted
        assert backward["aten::copy_"] <= 2 * converted
