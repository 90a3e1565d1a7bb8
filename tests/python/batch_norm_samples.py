"""Arguments of batch_norm_mpelu, and what it is to equal: the pair in torch's own operators."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
import torch.nn.functional as F
from formula import mpelu_formula
from torch import Tensor

ops = torch.ops.mpelu
EPS = 1e-5
MOMENTUM = 0.3

# Long rows, short ones, one channel, more channels than parts, tails of every kind.
SHAPES = (
    (4, 5),
    (300, 64),
    (8, 3, 7),
    (70, 3, 149),
    (3, 4, 7, 7),
    (5, 1, 4, 4),
    (8, 40, 17, 17),
    (64, 32, 5, 5),
    (16, 5, 4, 4),
    (12, 24, 5, 8),
    (20, 33, 13, 20),
    (20, 33, 8, 8),
    (2, 3, 2, 3, 4),
)
LAYOUTS = {
    "contiguous": lambda x: x,
    "channels_last": lambda x: x.movedim(1, -1).contiguous().movedim(-1, 1),
    "strided": lambda x: torch.stack([x, x], dim=-1)[..., 0],
}
# training, affine, running statistics, beta
KINDS = [k for k in itertools.product((True, False), repeat=4) if k[0] or k[2]]

DIFFERENTIABLE = ("input", "weight", "bias", "alpha", "beta")


class Arguments(NamedTuple):
    input: Tensor
    weight: Tensor | None
    bias: Tensor | None
    running_mean: Tensor | None
    running_var: Tensor | None
    alpha: Tensor
    beta: Tensor | None
    training: bool

    def to(self, *args) -> Arguments:
        return Arguments(*(a.to(*args) if isinstance(a, Tensor) else a for a in self))

    def differentiable(self) -> list[Tensor]:
        tensors = (getattr(self, name) for name in DIFFERENTIABLE)
        return [t for t in tensors if t is not None]


def make_arguments(
    shape: tuple[int, ...], kind: tuple[bool, ...] = (True,) * 4, shared: bool = False
) -> Arguments:
    """Of any sign, far from standardised."""
    torch.manual_seed(0)
    training, affine, tracked, has_beta = kind
    channels = shape[1]
    count = 1 if shared else channels

    def numbers(size: int = channels) -> Tensor:
        return torch.randn(size, dtype=torch.float64)

    return Arguments(
        3 * torch.randn(shape, dtype=torch.float64) + 7,
        numbers() if affine else None,
        numbers() if affine else None,
        numbers() if tracked else None,
        numbers() ** 2 + 0.5 if tracked else None,
        numbers(count),
        numbers(count) if has_beta else None,
        training,
    )


def pair(a: Arguments, momentum: float = MOMENTUM) -> Tensor:
    """What is to be computed, in torch's own operators."""
    normalised = F.batch_norm(
        a.input, a.running_mean, a.running_var, a.weight, a.bias, a.training, momentum, EPS
    )
    return mpelu_formula(normalised, a.alpha, a.beta).to(a.input.dtype)


def fused(a: Arguments, momentum: float = MOMENTUM) -> Tensor:
    return ops.batch_norm_mpelu(*a, momentum, EPS)[0]


def with_gradients(function, arguments: Arguments, grad_output: Tensor) -> list[Tensor]:
    """The output, the gradients and the running statistics afterwards, of copies."""
    a = Arguments(*(t.detach().clone() if isinstance(t, Tensor) else t for t in arguments))
    inputs = [t.requires_grad_() for t in a.differentiable()]
    output = function(a)
    running = [t for t in (a.running_mean, a.running_var) if t is not None]
    return [output, *torch.autograd.grad(output, inputs, grad_output), *running]
