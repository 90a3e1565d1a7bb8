"""Runs every CUDA kernel (test_cuda_launches.py says so); what it is for is compute-sanitizer.

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
# The fewest elements of which a thread takes several accesses at a time, in kernels that go by
# elements and by columns: more than kFewBlocks blocks (csrc/ops/cuda) of accesses of 16 bytes, and
# for columns of one channel two rounds of kElementwiseBlocks. The last access has elements of its
# own, and the last block and the last tile have threads with none.
LARGE_SHAPES = {
    "elements": ((3, 7, 99_865), DTYPES),
    "columns": ((1016, 4136), DTYPES),
    "columns of one channel": ((67, 61, 4112), HALF_DTYPES),
}


def on_device(values: Tensor, device: str, misaligned: bool) -> Tensor:
    """values on the device, from the second element of its storage on where `misaligned`."""
    start = torch.zeros(int(misaligned), dtype=values.dtype)
    return torch.cat([start, values.flatten()]).to(device)[len(start) :].view(values.shape)


def run(
    tensors: list[Tensor], parameter_dtype: torch.dtype, device: str, most_kinds: int | None
) -> None:
    """With grad_output and input, and parameters of all kinds or of the first few."""
    channels = tensors[0].size(min(1, tensors[0].dim() - 1))
    kinds: list[tuple[Tensor, Tensor | None]] = []
    for size in (channels, 1):
        alpha, beta = (
            torch.linspace(*ends, size, dtype=parameter_dtype).to(device)
            for ends in ((0.5, 2), (2, 0.5))
        )
        kinds += [(alpha, beta), (alpha, None), (alpha[:1], beta)]
    for misaligned in (False, True):
        grad_output, x = (on_device(values, device, misaligned) for values in tensors)
        for parameters in kinds[:most_kinds]:
            results = [ops.mpelu(x, *parameters)]
            results += ops.mpelu_backward(grad_output, x, *parameters)
            for result in results:
                result.cpu()
        for is_result in (False, True):
            ops.elu_backward(grad_output, x, 0.5, is_result).cpu()
        ops.elu_(x, 0.5).cpu()


def run_batch_norm(
    tensors: list[Tensor], parameter_dtype: torch.dtype, device: str, most_kinds: int | None
) -> None:
    """With the statistics of the batch, which move the running ones, and with these."""
    dtype = tensors[0].dtype
    arithmetic = torch.float64 if dtype == torch.float64 else torch.float32
    numbers = torch.linspace(0.5, 2, 6 * tensors[0].size(1), dtype=parameter_dtype).view(6, -1)
    weight, bias, mean, variance, alpha, beta = (row.clone().to(device) for row in numbers)
    saved = [row.clone().to(arithmetic).to(device) for row in numbers[2:4]]
    kinds = [
        (weight, bias, alpha, beta),
        (None, None, alpha[:1], None),
        (weight, None, alpha[:1], beta),
    ]
    for misaligned in (False, True):
        grad_output, x = (on_device(values, device, misaligned) for values in tensors)
        for w, b, *activation in kinds[:most_kinds]:
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


def run_dtypes(
    shape: tuple[int, ...],
    device: str,
    dtypes: tuple[torch.dtype, ...] = DTYPES,
    most_kinds: int | None = None,
) -> None:
    values = [make_values(shape, torch.float64, seed) for seed in (1, 0)]
    for dtype in dtypes:
        tensors = [tensor.to(dtype) for tensor in values]
        for parameter_dtype in {dtype, torch.float32 if dtype in HALF_DTYPES else dtype}:
            run(tensors, parameter_dtype, device, most_kinds)
            if len(shape) > 1:
                run_batch_norm(tensors, parameter_dtype, device, most_kinds)


def main(device: str = "cuda") -> None:
    for shape in SHAPES.values():
        run_dtypes(shape, device)
    for shape, dtypes in LARGE_SHAPES.values():
        run_dtypes(shape, device, dtypes, most_kinds=1)


if __name__ == "__main__":
    main()
    torch.cuda.synchronize()
    print(f"{len(SHAPES | LARGE_SHAPES)} shapes ran on {torch.cuda.get_device_name()}")
