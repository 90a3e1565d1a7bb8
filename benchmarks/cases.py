"""What is timed: the tensors of a case, and a peer's forward or backward on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from peers import Inputs, Peer
from torch import Tensor

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}

Task = Callable[[], object]

#: [N, C, H, W] of the layers of the CIFAR residual networks at batch 64.
LAYERS = ((64, 16, 32, 32), (64, 32, 16, 16), (64, 64, 8, 8))


@dataclass(frozen=True)
class Case:
    """Random tensors of [N, C, ...], with one alpha and beta for each of the C channels.

    `layout` is contiguous, channels_last, or misaligned: contiguous from the second element of its
    storage on.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    layout: str = "contiguous"
    threads: int = 1
    device: str = "cpu"
    #: One 0-d alpha and beta for all channels.
    shared: bool = False

    def inputs(self) -> Inputs:
        generator = torch.Generator(self.device).manual_seed(0)
        dtype = DTYPES[self.dtype]

        def tensor() -> Tensor:
            values = torch.randn(self.shape, device=self.device, generator=generator).to(dtype)
            if self.layout == "channels_last":
                return values.to(memory_format=torch.channels_last)
            if self.layout == "misaligned":
                return torch.cat([values.new_zeros(1), values.flatten()])[1:].view(self.shape)
            return values.clone()

        def number(shared: bool = False) -> Tensor:
            size = () if shared else (self.shape[min(1, len(self.shape) - 1)],)
            values = torch.rand(size, device=self.device, generator=generator)
            return (0.5 + values).to(dtype)

        return Inputs(
            x=tensor().requires_grad_(),
            alpha=number(self.shared).requires_grad_(),
            beta=number(self.shared).requires_grad_(),
            weight=number().requires_grad_(),
            bias=number().requires_grad_(),
            running_mean=number(),
            running_var=number(),
            grad_output=tensor(),
        )

    def label(self) -> str:
        shape = "x".join(map(str, self.shape))
        threads = f", {self.threads} thread{'s' * (self.threads > 1)}" * (self.device == "cpu")
        return f"{shape} {self.dtype} {self.layout} on {self.device}{threads}"


def forward_task(peer: Peer, inputs: Inputs) -> Task:
    @torch.no_grad()
    def task() -> object:
        return peer.forward(inputs)

    return task


def backward_task(peer: Peer, inputs: Inputs) -> Task:
    if not peer.is_differentiable:
        return forward_task(peer, inputs)
    output = peer.forward(inputs)
    wanted = peer.differentiable(inputs)
    return lambda: torch.autograd.grad(output, wanted, inputs.grad_output, retain_graph=True)


def training_task(peer: Peer, inputs: Inputs) -> Task:
    """Forward and backward, as eager code runs them."""
    wanted = peer.differentiable(inputs)
    return lambda: torch.autograd.grad(peer.forward(inputs), wanted, inputs.grad_output)
