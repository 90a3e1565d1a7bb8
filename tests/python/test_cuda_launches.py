"""every_cuda_kernel.py launches every kernel: what compute-sanitizer is to watch on a GPU.

The hosts and what plans their launches run as they are, with the CUDA operators emulated; the
kernels are named, in a process of their own, and none runs.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import re
import subprocess
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import every_cuda_kernel
import torch
from programs import find_program

KERNEL = re.compile(r"_ZN5mpelu4cuda\d+[a-z_]+_kernelI\w+")


def symbols(library: Path) -> dict[str, int]:
    """The names in a library and their addresses there."""
    command = ["nm", "--defined-only", str(library)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return {name: int(address, 16) for address, _, name in map(str.split, lines)}


def launched_kernels(library: Path) -> set[str]:
    """The names of the kernels that every_cuda_kernel.py launches."""
    torch.ops.load_library(library)
    on_launch = ctypes.c_void_p.in_dll(ctypes.CDLL(str(library)), "mpelu_on_launch")
    launched: set[int] = set()
    callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(launched.add)
    on_launch.value = ctypes.cast(callback, ctypes.c_void_p).value
    every_cuda_kernel.main(device="cpu")

    addresses = symbols(library)
    base = ctypes.addressof(on_launch) - addresses["mpelu_on_launch"]
    return {name for name, address in addresses.items() if base + address in launched}


def test_every_kernel_is_launched_by_every_cuda_kernel() -> None:
    library = find_program("libmpelu_emulated_cuda.so")
    kernels = set(filter(KERNEL.fullmatch, symbols(library)))
    assert len(kernels) > 100
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        launched = pool.submit(launched_kernels, library).result()
    assert launched == kernels, sorted(launched ^ kernels)
