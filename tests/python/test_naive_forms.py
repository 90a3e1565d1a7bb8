"""MPELU as the layers that its papers' readers stack: exact where those are defined to agree.

v1 = PReLU(beta) -> ELU(1) -> PReLU(alpha)
v2 = PReLU(beta) -> SPELU(alpha)

Both give alpha expm1(beta x) where x <= 0 as long as beta >= 0: PReLU(beta) then leaves the sign of
x, and so the branch that each layer takes, as it was. A negative beta turns a negative x positive,
which the next layer passes on. Any alpha will do. Every layer counts 0 to its lower branch.
"""

from __future__ import annotations

import pytest
import torch
from samples import make_values
from tolerances import SAME_IN_FLOAT64
from torch import Tensor
from torch.nn.functional import elu, prelu

ops = torch.ops.mpelu


def v1(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    return prelu(elu(prelu(x, beta)), alpha)


def v2(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    return ops.mpelu(prelu(x, beta), alpha)


def value_and_gradients(function, device: torch.device, beta: list[float]) -> list[Tensor]:
    x = make_values((4, 3, 5), torch.float64, specials=(0.0, -30.0, 30.0)).to(device)
    leaves = [x, x.new_tensor([0.25, -0.5, 1.5]), x.new_tensor(beta)]
    for leaf in leaves:
        leaf.requires_grad_()
    output = function(*leaves)
    grad_output = make_values(x.shape, x.dtype, seed=1).to(device)
    return [output, *torch.autograd.grad(output, leaves, grad_output)]


@pytest.mark.parametrize("naive", [v1, v2])
def test_equals_the_closed_form_for_beta_not_negative(device: torch.device, naive) -> None:
    beta = [0.75, 2.0, 0.0]
    actual = value_and_gradients(naive, device, beta)
    expected = value_and_gradients(ops.mpelu, device, beta)
    for ours, theirs in zip(expected, actual, strict=True):
        torch.testing.assert_close(ours, theirs, **SAME_IN_FLOAT64)


@pytest.mark.parametrize("naive", [v1, v2])
def test_differs_from_the_closed_form_for_negative_beta(device: torch.device, naive) -> None:
    x = torch.tensor([[-1.0]], dtype=torch.float64, device=device)
    alpha, beta = x.new_tensor([0.5]), x.new_tensor([-2.0])
    torch.testing.assert_close(naive(x, alpha, beta), x.new_tensor([[2.0]]))
    expected = 0.5 * torch.expm1(x.new_tensor([[2.0]]))
    torch.testing.assert_close(ops.mpelu(x, alpha, beta), expected, **SAME_IN_FLOAT64)
