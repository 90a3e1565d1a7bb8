"""Times every peer side by side: forward and backward, over sizes, dtypes, layouts and threads.

    python benchmarks/bench.py                  # the CPU, and the GPU where there is one
    python benchmarks/bench.py --device cuda

Prints a table and, for each device, writes a JSON file with the date, the machine and the versions.
Some of the dtypes or peers alone are written nowhere, unless --output is given.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from cases import DTYPES, LAYERS, Case, backward_task, forward_task, training_task
from machine import write_results
from measure import interleaved, keep_memory, memory
from peers import ADD, CLONE, PEERS, Peer

# Past the caches, where the other dtypes, layouts and numbers of threads are shown.
LARGE = (64, 64, 32, 32)
CPU_SHAPES = (*LAYERS, LARGE)
GPU_SHAPES = (*CPU_SHAPES, (64, 256, 32, 32), (256, 256, 32, 32))

Row = dict[str, Any]


def cases(device: str) -> Iterator[Case]:
    """Every shape in float32; the largest in every dtype and layout, and on two threads."""
    if device == "cuda":
        for shape in GPU_SHAPES:
            for dtype in ("float32", "bfloat16"):
                for layout in ("contiguous", "channels_last"):
                    yield Case(shape, dtype, layout, device="cuda")
        return
    for shape in CPU_SHAPES:
        yield Case(shape)
    yield Case(LARGE, layout="channels_last")
    for dtype in ("bfloat16", "float16", "float64"):
        yield Case(LARGE, dtype)
    yield Case(LARGE, threads=2)


def measure_case(case: Case, peers: list[Peer], seconds: float) -> Iterator[Row]:
    torch.compiler.reset()
    inputs = case.inputs()
    for direction, reference, make_task in (
        ("forward", CLONE, forward_task),
        ("backward", ADD, backward_task),
    ):
        shown = [reference, *peers]
        times = interleaved([(make_task(p, inputs), case.threads) for p in shown], seconds)
        for peer, time in zip(shown, times, strict=True):
            row = {**asdict(case), "direction": direction, "peer": peer.name, **asdict(time)}
            row["of_reference"] = time.median_s / times[0].median_s
            if direction == "backward" and peer is not reference:
                row.update(asdict(memory(training_task(peer, inputs), inputs.x.device)))
            yield row


def print_table(case: Case, rows: list[Row]) -> None:
    by_peer: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_peer.setdefault(str(row["peer"]), {})[str(row["direction"])] = row
    print(f"\n{case.label()}")
    heads = ("forward ms", "iqr", "x clone", "backward ms", "iqr", "x add", "saved MB", "peak MB")
    print(" " * 24, *(f"{head:>12}" for head in heads))
    for peer, directions in by_peer.items():
        cells: list[str] = []
        for direction in ("forward", "backward"):
            row = directions.get(direction)
            numbers = (
                (row["median_s"] * 1e3, row["iqr_s"] * 1e3, row["of_reference"]) if row else ()
            )
            cells += [f"{number:.3f}" for number in numbers] or [""] * 3
        backward = directions.get("backward", {})
        for key in ("saved_bytes", "peak_bytes"):
            cells.append(f"{float(backward[key]) / 1e6:.1f}" if key in backward else "")
        print(f"{peer:<24}", *(f"{cell:>12}" for cell in cells), flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), help="the only one; else all there are"
    )
    parser.add_argument(
        "--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES), help="these alone"
    )
    names = [peer.name for peer in PEERS]
    parser.add_argument("--peers", nargs="+", choices=names, default=names, help="these alone")
    parser.add_argument("--seconds", type=float, default=1.0, help="of timing for each row")
    parser.add_argument(
        "--output", type=Path, help="folder of the JSON files; default, of all: benchmarks/results"
    )
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no CUDA device")
    if {*arguments.dtypes, *arguments.peers} == {*DTYPES, *names}:
        arguments.output = arguments.output or Path("benchmarks/results")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    keep_memory()
    devices = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
    peers = [peer for peer in PEERS if peer.name in arguments.peers]
    for device in [arguments.device] if arguments.device else devices:
        rows: list[Row] = []
        for case in cases(device):
            if case.dtype in arguments.dtypes:
                of_case = list(measure_case(case, peers, arguments.seconds))
                print_table(case, of_case)
                rows += of_case
        if arguments.output:
            kind = "speed" if device == "cpu" else "gpu-speed"
            print("written:", write_results(kind, device, rows, arguments.output))


if __name__ == "__main__":
    main()
