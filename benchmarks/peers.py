"""What is compared: every way in which a user of torch could compute the activation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

import mpelu.functional as MF


@dataclass(frozen=True)
class Inputs:
    """One case's tensors; all but x and grad_output have one element for each channel."""

    x: Tensor
    alpha: Tensor
    beta: Tensor
    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor
    grad_output: Tensor

    def broadcast(self, parameter: Tensor) -> Tensor:
        """parameter in a shape that broadcasts along dimension 1 of x."""
        return parameter.view(-1, *[1] * (self.x.dim() - 2))


def eager_formula(inputs: Inputs) -> Tensor:
    alpha, beta = inputs.broadcast(inputs.alpha), inputs.broadcast(inputs.beta)
    negative = torch.where(inputs.x > 0, 0.0, inputs.x)
    return torch.where(inputs.x > 0, inputs.x, alpha * torch.expm1(beta * negative))


def naive_v1(inputs: Inputs) -> Tensor:
    """PReLU(beta) -> ELU(1) -> PReLU(alpha), as the paper describes MPELU."""
    return F.prelu(F.elu(F.prelu(inputs.x, inputs.beta)), inputs.alpha)


def naive_v2(inputs: Inputs) -> Tensor:
    """PReLU(beta) -> SPELU(alpha)."""
    return MF.spelu(F.prelu(inputs.x, inputs.beta), inputs.alpha)


def running_statistics(inputs: Inputs, training: bool) -> tuple[Tensor, Tensor]:
    """Training writes them, and a graph that is kept for the backward would be out of date."""
    mean, variance = inputs.running_mean, inputs.running_var
    return (mean.clone(), variance.clone()) if training else (mean, variance)


def batch_norm(inputs: Inputs, training: bool) -> Tensor:
    statistics = running_statistics(inputs, training)
    return F.batch_norm(inputs.x, *statistics, inputs.weight, inputs.bias, training)


def batch_norm_relu(inputs: Inputs, training: bool = True) -> Tensor:
    return F.relu(batch_norm(inputs, training), inplace=True)


def batch_norm_then_mpelu(inputs: Inputs, training: bool = True) -> Tensor:
    return MF.mpelu(batch_norm(inputs, training), inputs.alpha, inputs.beta)


def batch_norm_mpelu(inputs: Inputs, training: bool = True) -> Tensor:
    return MF.batch_norm_mpelu(
        inputs.x,
        *running_statistics(inputs, training),
        inputs.alpha,
        inputs.beta,
        inputs.weight,
        inputs.bias,
        training,
    )


_compiled_formula = torch.compile(eager_formula, fullgraph=True, dynamic=False)


@dataclass(frozen=True)
class Peer:
    """An implementation: its function, and what it computes gradients for beside x."""

    name: str
    forward: Callable[[Inputs], Tensor]
    learns: tuple[str, ...] = ()
    is_differentiable: bool = True

    def differentiable(self, inputs: Inputs) -> list[Tensor]:
        return [inputs.x, *(getattr(inputs, name) for name in self.learns)]


#: The memory traffic of a forward: a tensor read and one written.
CLONE = Peer("torch clone", lambda i: i.x.detach().clone(), is_differentiable=False)
#: That of a backward: two tensors read and one written.
ADD = Peer("torch add", lambda i: torch.add(i.x.detach(), i.grad_output), is_differentiable=False)

RELU = Peer("torch relu", lambda i: F.relu(i.x))
ELU = Peer("torch elu", lambda i: F.elu(i.x))
PRELU = Peer("torch prelu", lambda i: F.prelu(i.x, i.alpha), ("alpha",))
FORMULA = Peer("formula, eager", eager_formula, ("alpha", "beta"))
COMPILED = Peer("formula, torch.compile", _compiled_formula, ("alpha", "beta"))
OUR_ELU = Peer("mpelu.elu", lambda i: MF.elu(i.x))
OUR_SPELU = Peer("mpelu.spelu", lambda i: MF.spelu(i.x, i.alpha), ("alpha",))
OUR_MPELU = Peer("mpelu.mpelu", lambda i: MF.mpelu(i.x, i.alpha, i.beta), ("alpha", "beta"))

BATCH_NORM_RELU = Peer("batch norm, torch relu", batch_norm_relu, ("weight", "bias"))
BATCH_NORM_THEN_MPELU = Peer(
    "batch norm, mpelu", batch_norm_then_mpelu, ("weight", "bias", "alpha", "beta")
)
OUR_BATCH_NORM_MPELU = Peer(
    "mpelu.batch_norm_mpelu", batch_norm_mpelu, ("weight", "bias", "alpha", "beta")
)


def compiled(peer: Peer) -> Peer:
    """A peer in torch.compile, between two operations that Inductor can fuse a formula with."""

    def forward(inputs: Inputs) -> Tensor:
        return peer.forward(replace(inputs, x=inputs.x * 2)) + 1

    function = torch.compile(forward, fullgraph=True, dynamic=False)
    return replace(peer, name=f"{peer.name}, between two in torch.compile", forward=function)


#: Whether an operator or its formula is the better choice inside of torch.compile.
OUR_MPELU_BETWEEN, FORMULA_BETWEEN = compiled(OUR_MPELU), compiled(FORMULA)


def evaluating(peer: Peer) -> Peer:
    """A peer with a batch norm, in evaluation."""
    return replace(
        peer, name=f"{peer.name}, evaluation", forward=partial(peer.forward, training=False)
    )


PEERS = (
    RELU,
    ELU,
    PRELU,
    FORMULA,
    COMPILED,
    Peer("naive v1", naive_v1, ("alpha", "beta")),
    Peer("naive v2", naive_v2, ("alpha", "beta")),
    OUR_ELU,
    OUR_SPELU,
    OUR_MPELU,
    BATCH_NORM_RELU,
    BATCH_NORM_THEN_MPELU,
    OUR_BATCH_NORM_MPELU,
)
