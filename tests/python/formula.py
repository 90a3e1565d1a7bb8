"""MPELU in torch's differentiable operations: what transforms and higher derivatives must equal."""

from __future__ import annotations

import torch
from torch import Tensor


def mpelu_formula(x: Tensor, alpha: Tensor, beta: Tensor | None = None, dim: int = 1) -> Tensor:
    """For 1-d alpha and beta, at any rank from 2."""
    shape = [-1 if index == dim else 1 for index in range(x.dim())]
    lower = torch.where(x > 0, 0.0, x)  # before the product: its gradient must not be 0 * inf
    exponent = lower if beta is None else lower * beta.view(shape)
    return torch.where(x > 0, x, alpha.view(shape) * torch.expm1(exponent))
