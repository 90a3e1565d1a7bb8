"""Runs every CUDA kernel; what it is for is to be run under compute-sanitizer.

    compute-sanitizer --tool initcheck python tests/python/every_cuda_kernel.py

The tensors come from the CPU and go back to it, so that no kernels but mpelu's are seen: initcheck
takes for uninitialised what a kernel outside of its view has written. What the kernels compute is
tested elsewhere.
"""

from __future__ import annotations

import torch
from samples import DTYPES, HALF_DTYPES, make_values
from torch import Tensor

import mpelu  # noqa: F401 - the operators

ops = torch.ops.mpelu

# Rows and columns, of whole packs of 16 bytes and not, in one launch and in two.
SHAPES = {
    "rows of packs": (5, 7, 32, 32),
    "rows of elements": (5, 7, 31, 33),
    "columns of packs": (300, 512),
    "columns of elements": (300, 47),
    "columns by inner": (70, 16, 7),
    "one long row of packs": (1, 1, 100_000),
    "one long row of elements": (1, 1, 100_001),
    "few": (2, 3, 5),
    "vector": (67,),
}


def on_gpu(values: Tensor, misaligned: bool) -> Tensor:
    """values on the GPU, from the second element of its storage on where `misaligned`."""
    start = torch.zeros(int(misaligned), dtype=values.dtype)
    return torch.cat([start, values.flatten()]).cuda()[len(start) :].view(values.shape)


def run(shape: tuple[int, ...], dtype: torch.dtype, parameter_dtype: torch.dtype) -> None:
    channels = shape[min(1, len(shape) - 1)]
    for misaligned in (False, True):
        grad_output, x = (on_gpu(make_values(shape, dtype, seed), misaligned) for seed in (1, 0))
        for size in {1, channels}:
            alpha, beta = (
                torch.linspace(*ends, size, dtype=parameter_dtype).cuda()
                for ends in ((0.5, 2), (2, 0.5))
            )
            for parameters in ((alpha, beta), (alpha, None), (alpha[:1], beta)):
                results = [ops.mpelu(x, *parameters)]
                results += ops.mpelu_backward(grad_output, x, *parameters)
                for result in results:
                    result.cpu()
        for is_result in (False, True):
            ops.elu_backward(grad_output, x, 0.5, is_result).cpu()
        ops.elu_(x, 0.5).cpu()


def run_batch_norm(
    shape: tuple[int, ...], dtype: torch.dtype, parameter_dtype: torch.dtype
) -> None:
    """With the statistics of the batch, which move the running ones, and with these."""
    arithmetic = torch.float64 if dtype == torch.float64 else torch.float32
    for misaligned in (False, True):
        grad_output, x = (on_gpu(make_values(shape, dtype, seed), misaligned) for seed in (1, 0))
        numbers = torch.linspace(0.5, 2, 6 * shape[1], dtype=parameter_dtype).view(6, -1)
        weight, bias, mean, variance, alpha, beta = (row.clone().cuda() for row in numbers)
        saved = [row.clone().to(arithmetic).cuda() for row in numbers[2:4]]
        for parameters in (
            (weight, bias, alpha, beta),
            (None, None, alpha[:1], None),
            (weight, None, alpha[:1], beta),
        ):
            w, b, *activation = parameters
            results = []
            for training in (False, True):
                results += ops.batch_norm_mpelu(
                    x, w, b, mean, variance, *activation, training, 0.1, 1e-5
                )
                results += ops.batch_norm_mpelu_backward(
                    grad_output, x, w, b, *saved, *activation, training, 1e-5
                )
            for result in results:
                result.cpu()


def main() -> None:
    for shape in SHAPES.values():
        for dtype in DTYPES:
            for parameter_dtype in {dtype, torch.float32 if dtype in HALF_DTYPES else dtype}:
                run(shape, dtype, parameter_dtype)
                if len(shape) > 1:
                    run_batch_norm(shape, dtype, parameter_dtype)
    torch.cuda.synchronize()
    print(f"{len(SHAPES)} shapes ran on {torch.cuda.get_device_name()}")


if __name__ == "__main__":
    main()
