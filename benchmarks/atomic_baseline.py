"""The peer whose sums are atomic additions, compiled where and when it is timed."""

from __future__ import annotations

import ctypes
import math
from functools import cache
from pathlib import Path

import torch
from peers import Inputs, Peer
from torch import Tensor

SOURCE = Path(__file__).with_suffix(".cu")
BUILD = SOURCE.parent.parent / "build" / "atomic_baseline"


@cache
def library() -> ctypes.CDLL:
    from torch.utils.cpp_extension import load  # where there is no GPU, the import warns of it

    BUILD.mkdir(parents=True, exist_ok=True)
    load(BUILD.name, [str(SOURCE)], build_directory=str(BUILD), is_python_module=False)
    return ctypes.CDLL(str(BUILD / f"{BUILD.name}.so"))


def backward(inputs: Inputs) -> tuple[Tensor, Tensor, Tensor]:
    """Of contiguous float32 tensors."""
    x = inputs.x
    gradients = torch.empty_like(x), torch.zeros_like(inputs.alpha), torch.zeros_like(inputs.beta)
    tensors = inputs.grad_output, x, inputs.alpha, inputs.beta, *gradients
    error = library().atomic_backward(
        *(ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors),
        *(ctypes.c_int64(n) for n in (x.numel(), x.size(1), math.prod(x.shape[2:]))),
        ctypes.c_void_p(torch.cuda.current_stream().cuda_stream),
    )
    if error:
        raise RuntimeError(f"the atomic baseline did not start: CUDA error {error}")
    return gradients


#: Its sums depend on the order of the threads.
ATOMIC = Peer("atomic additions", backward, is_differentiable=False)
