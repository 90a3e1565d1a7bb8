"""Gradients are the same bits in every run and, on the CPU, for any number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from samples import DTYPES, LAYOUTS, make_values
from tolerances import assert_same_bits
from torch import Tensor

from mpelu import _library

ops = torch.ops.mpelu

# Large enough to be divided among threads and blocks: many channels, few, one; odd everywhere.
CASES = {
    "many rows": ((65, 17, 130), "contiguous", 1),
    "long rows": ((2, 3, 30_001), "contiguous", 1),
    "long vector": ((150_003,), "contiguous", 0),
    "few large channels": ((9, 3, 67, 71), "channels_last", 1),
    "many small channels": ((7, 515, 5, 9), "channels_last", 1),
    "volumes": ((3, 5, 7, 31, 37), "channels_last_3d", 1),
    "channels last of a matrix": ((3001, 47), "contiguous", -1),
    "transposed": ((23, 47, 129), "transposed", 1),
    "sliced": ((23, 47, 129), "sliced", 1),
    "past the caches": ((65, 1343, 49), "contiguous", 1),
}


@pytest.fixture(autouse=True)
def restore_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def make_arguments(case: str, dtype: torch.dtype, shared: bool, device: torch.device) -> tuple:
    """grad_output, input, alpha, beta and dim."""
    shape, layout, dim = CASES[case]
    arrange = LAYOUTS[layout].arrange
    size = 1 if shared else shape[dim]
    return (
        arrange(make_values(shape, dtype, seed=1).to(device)),
        arrange(make_values(shape, dtype).to(device)),
        torch.linspace(0.25, 1.5, size, device=device).to(dtype),
        torch.linspace(1.5, -0.25, size, device=device).to(dtype),  # the last ones grow
        dim,
    )


def results(arguments: tuple) -> list[Tensor]:
    return [ops.mpelu(*arguments[1:]), *ops.mpelu_backward(*arguments)]


by_case = pytest.mark.parametrize("case", CASES)
by_sharing = pytest.mark.parametrize("shared", [True, False], ids=["shared", "per channel"])


@by_case
@by_sharing
def test_runs_are_equal(device: torch.device, case: str, shared: bool) -> None:
    for dtype in DTYPES:
        arguments = make_arguments(case, dtype, shared, device)
        first = results(arguments)
        for _ in range(2):
            for again, expected in zip(results(arguments), first, strict=True):
                assert_same_bits(again, expected, f"{case}, {dtype}")


def test_the_kernels_are_compiled_for_several_threads() -> None:
    # Without OpenMP at::parallel_for runs all of its work on the calling thread.
    library = Path(_library._LIBRARY).read_bytes()
    assert b"GOMP_parallel" in library or b"__kmpc_fork_call" in library


@by_case
@by_sharing
def test_numbers_of_threads_are_equal(case: str, shared: bool) -> None:
    for dtype in DTYPES:
        arguments = make_arguments(case, dtype, shared, torch.device("cpu"))
        torch.set_num_threads(1)
        one_thread = results(arguments)
        for threads in (2, 3, 7):
            torch.set_num_threads(threads)
            for actual, expected in zip(results(arguments), one_thread, strict=True):
                assert_same_bits(actual, expected, f"{case}, {dtype}, {threads} threads")


@pytest.mark.parametrize("layout", ["rows", "columns", "channels last"])
def test_where_a_tensor_lies_does_not_change_the_numbers(layout: str) -> None:
    """The kernels go through memory one way or the other by the last bits of its addresses."""
    inner = {"rows": 300, "columns": 49, "channels last": 1}[layout]
    shape = (20, 70, inner) if inner > 1 else (20, inner, 70)
    values, grad_output = make_values(shape, torch.float32), make_values(shape, torch.float32, 1)
    alpha, beta = torch.linspace(0.25, 1.5, 70), torch.linspace(1.5, 0.25, 70)
    dim = 1 if inner > 1 else 2
    expected = None
    for start in (*range(0, 1024, 64), 1, 17):
        x = torch.empty(start + values.numel())[start:].view(shape).copy_(values)
        outputs = [
            ops.mpelu(x, alpha, beta, dim),
            *ops.mpelu_backward(grad_output, x, alpha, beta, dim),
            *ops.batch_norm_mpelu(
                x.movedim(dim, 1), None, None, None, None, alpha, beta, True, 0.1, 1e-5
            ),
        ]
        expected = expected or outputs
        for actual, first in zip(outputs, expected, strict=True):
            assert_same_bits(actual, first, f"{layout} from element {start} on")
