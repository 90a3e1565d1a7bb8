"""The bars that the CUDA kernels have to clear: ratios, each measured in one run.

    python benchmarks/cuda_bars.py     # prints a line for each; fails if one falls short

Both sides of a ratio are CUDA graphs, timed in turns by events; the times of the odd shapes are per
element, beside those of whole vectors.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import torch
from atomic_baseline import ATOMIC
from bars import Bar, Timed, backward, forward, training
from cases import LAYERS, Case
from machine import write_results, written_rows
from measure import interleaved_graphs
from peers import (
    ADD,
    BATCH_NORM_RELU,
    BATCH_NORM_THEN_MPELU,
    CLONE,
    COMPILED,
    ELU,
    FORMULA_BETWEEN,
    OUR_BATCH_NORM_MPELU,
    OUR_MPELU,
    OUR_MPELU_BETWEEN,
    PRELU,
    Peer,
    evaluating,
)

Cases = dict[str, Case]

#: 64 MiB.
FLOAT32 = Case((64, 256, 32, 32), device="cuda")
BFLOAT16 = Case((128, 256, 32, 32), dtype="bfloat16", device="cuda")
BATCH_NORM = Case((64, 64, 32, 32), device="cuda")

# Some as many elements as FLOAT32 has, in sizes that no vector divides; the last many more.
ODD = {
    "inner 1": replace(FLOAT32, shape=(266_305, 63)),
    "inner 7": replace(FLOAT32, shape=(64, 37_449, 7)),
    "inner 49": replace(FLOAT32, shape=(64, 5_349, 7, 7)),
    "C = 3": replace(FLOAT32, shape=(64, 3, 295, 295)),
    "C = 3, channels last": replace(FLOAT32, shape=(64, 3, 295, 295), layout="channels_last"),
    "misaligned storage": replace(FLOAT32, layout="misaligned"),
    "0-d parameters": replace(FLOAT32, shared=True),
    "1-d, 0-d parameters": replace(FLOAT32, shape=(16_777_213,), shared=True),
    "more than 2^31": replace(BFLOAT16, shape=(33, 64, 1024, 1024)),
}


def groups() -> dict[str, list[Bar]]:
    """The bars by what they are about; those of a group have one limit."""
    sizes = {case.dtype: case for case in (FLOAT32, BFLOAT16)}
    arranged = {
        f"{dtype} {layout}": replace(case, layout=layout)
        for dtype, case in sizes.items()
        for layout in ("contiguous", "channels_last")
    }
    layers = {"x".join(map(str, shape)): Case(shape, device="cuda") for shape in LAYERS}
    # The last batch norm has a block's output.
    normalised = {**layers, "64x256x8x8": Case((64, 256, 8, 8), device="cuda")}
    result: dict[str, list[Bar]] = {}

    def add(
        group: str,
        of: Callable[[Peer, Case], Timed],
        peer: Peer,
        limit: float,
        cases: Cases,
        ours: Peer = OUR_MPELU,
    ) -> None:
        result[group] = [
            Bar(f"{group}: {name}", of(ours, case), of(peer, case), limit)
            for name, case in cases.items()
        ]

    add("forward, of copy", forward, CLONE, 1.1, arranged)
    add("backward, of add", backward, ADD, 1.15, arranged)
    add("forward, of torch elu", forward, ELU, 1.02, sizes)
    add("forward, of torch.compile", forward, COMPILED, 1.02, sizes)
    add(
        "in torch.compile, of the formula",
        forward,
        FORMULA_BETWEEN,
        1.02,
        sizes,
        OUR_MPELU_BETWEEN,
    )
    add("backward, of torch prelu", backward, PRELU, 0.5, sizes)
    add("backward, of atomic additions", backward, ATOMIC, 0.1, {"float32": FLOAT32})
    add("layers, forward, of torch elu", forward, ELU, 1.02, layers)
    add("layers, backward, of torch elu", backward, ELU, 1.02, layers)
    for direction, of in (("forward", forward), ("backward", backward)):
        group = f"odd shapes, {direction}"
        result[group] = [
            Bar(f"{group}: {name}", of(OUR_MPELU, case), of(OUR_MPELU, sizes[case.dtype]), 1.5)
            for name, case in ODD.items()
        ]
    for layout, limit in (("contiguous", 1 / 1.2), ("channels_last", 1 / 1.5)):
        add(
            f"batch norm, training, {layout}, of relu's",
            training,
            BATCH_NORM_RELU,
            limit,
            {"64x64x32x32": replace(BATCH_NORM, layout=layout)},
            OUR_BATCH_NORM_MPELU,
        )
    add(
        "batch norm, training, of the pair",
        training,
        BATCH_NORM_THEN_MPELU,
        1.0,
        normalised,
        OUR_BATCH_NORM_MPELU,
    )
    add(
        "batch norm, evaluation, of relu's",
        forward,
        evaluating(BATCH_NORM_RELU),
        1.0,
        normalised,
        evaluating(OUR_BATCH_NORM_MPELU),
    )
    return result


def measure(bar: Bar, seconds: float) -> dict[str, Any]:
    sides = bar.ours, bar.theirs
    result = bar.result(*interleaved_graphs([side.task for side in sides], seconds))
    print(result, flush=True)
    return result.row()


def go_on_after(bar: Bar, arguments: argparse.Namespace) -> NoReturn:
    """In a new process: after a failed capture or launch, this one can measure nothing more."""
    sys.stdout.flush()
    options = ["--seconds", str(arguments.seconds), "--output", str(arguments.output)]
    os.execv(sys.executable, [sys.executable, __file__, *options, "--after", bar.name])


def main(argv: Sequence[str] | None = None) -> int:
    bars = [bar for group in groups().values() for bar in group]
    names = [bar.name for bar in bars]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.2, help="of timing for each side")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/gpu"))
    parser.add_argument(
        "--after", metavar="BAR", choices=names, help="go on after this one with today's file"
    )
    arguments = parser.parse_args(argv)
    if not torch.cuda.is_available():
        parser.error("torch sees no CUDA device")
    if arguments.after:
        bars = bars[names.index(arguments.after) + 1 :]
        rows = written_rows("", "cuda", arguments.output)
    else:
        rows = []
    path = write_results("", "cuda", rows, arguments.output)
    for bar in bars:
        try:
            rows.append(measure(bar, arguments.seconds))
            torch.cuda.empty_cache()
        except Exception as error:  # the other rows are still worth having
            print(f"{bar.name:<42} not measured: {error!r:.200}", flush=True)
            go_on_after(bar, arguments)
        # After every row: who kills this keeps what is measured.
        write_results("", "cuda", rows, arguments.output)
    print("written:", path)
    met = sum(bool(row["is_met"]) for row in rows)
    print(f"{met} of {len(names)} bars are met")
    return 0 if met == len(names) else 1


if __name__ == "__main__":
    sys.exit(main())
