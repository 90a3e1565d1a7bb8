"""The bars that the CUDA kernels have to clear: ratios, each measured in one run.

    python benchmarks/cuda_bars.py     # prints a line for each; fails if one falls short

Both sides of a ratio are CUDA graphs, timed in turns by events.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import torch
from atomic_baseline import ATOMIC
from bars import Bar, Result, backward, forward
from cases import Case
from machine import write_results
from measure import interleaved_graphs
from peers import ADD, CLONE, COMPILED, ELU, OUR_MPELU, PRELU

#: 64 MiB.
FLOAT32 = Case((64, 256, 32, 32), device="cuda")
BFLOAT16 = Case((128, 256, 32, 32), dtype="bfloat16", device="cuda")

#: Of the 164-layer network for images of 32 x 32, at batch 64.
LAYERS = ((64, 16, 32, 32), (64, 32, 16, 16), (64, 64, 8, 8))

# As many elements as FLOAT32, in sizes that no vector divides.
ODD = {
    "inner 1": replace(FLOAT32, shape=(266_305, 63)),
    "inner 7": replace(FLOAT32, shape=(64, 37_449, 7)),
    "inner 49": replace(FLOAT32, shape=(64, 5_349, 7, 7)),
    "C = 3": replace(FLOAT32, shape=(64, 3, 295, 295)),
    "C = 3, channels last": replace(FLOAT32, shape=(64, 3, 295, 295), layout="channels_last"),
    "misaligned storage": replace(FLOAT32, layout="misaligned"),
    "0-d alpha and beta": replace(FLOAT32, shared=True),
    "1-d, 0-d alpha and beta": replace(FLOAT32, shape=(16_777_213,), shared=True),
}
MORE_THAN_AN_INT_COUNTS = replace(BFLOAT16, shape=(33, 64, 1024, 1024))


def limits_of_memory() -> Iterator[Bar]:
    for case in (FLOAT32, BFLOAT16):
        for layout in ("contiguous", "channels_last"):
            arranged = replace(case, layout=layout)
            what = f"{case.dtype} {layout}"
            ours, theirs = forward(OUR_MPELU, arranged), forward(CLONE, arranged)
            yield Bar(f"forward, {what}, of copy", ours, theirs, 1.1)
            ours, theirs = backward(OUR_MPELU, arranged), backward(ADD, arranged)
            yield Bar(f"backward, {what}, of add", ours, theirs, 1.15)


def peers() -> Iterator[Bar]:
    for case in (FLOAT32, BFLOAT16):
        for peer in (ELU, COMPILED):
            name = f"forward, {case.dtype}, of {peer.name}"
            yield Bar(name, forward(OUR_MPELU, case), forward(peer, case), 1.02)
        name = f"backward, {case.dtype}, of {PRELU.name}"
        yield Bar(name, backward(OUR_MPELU, case), backward(PRELU, case), 0.5)
    name = f"backward, float32, of {ATOMIC.name}"
    yield Bar(name, backward(OUR_MPELU, FLOAT32), backward(ATOMIC, FLOAT32), 0.1)


def layers_of_the_network() -> Iterator[Bar]:
    for shape in LAYERS:
        case = Case(shape, device="cuda")
        for direction, of in (("forward", forward), ("backward", backward)):
            name = f"{direction}, layer {'x'.join(map(str, shape))}, of {ELU.name}"
            yield Bar(name, of(OUR_MPELU, case), of(ELU, case), 1.02)


def odd_shapes() -> Iterator[Bar]:
    """Per element, of aligned whole vectors."""
    for direction, of in (("forward", forward), ("backward", backward)):
        for name, case in ODD.items():
            yield Bar(f"{direction}, {name}", of(OUR_MPELU, case), of(OUR_MPELU, FLOAT32), 1.5)
        ours, theirs = of(OUR_MPELU, MORE_THAN_AN_INT_COUNTS), of(OUR_MPELU, BFLOAT16)
        yield Bar(f"{direction}, bfloat16, more than 2^31 elements", ours, theirs, 1.5)


def all_bars() -> list[Bar]:
    return [*limits_of_memory(), *peers(), *layers_of_the_network(), *odd_shapes()]


def measure(bar: Bar, seconds: float) -> Result:
    sides = bar.ours, bar.theirs
    times = interleaved_graphs([side.task for side in sides], seconds)
    ours, theirs = (time.median_s / side.elements for time, side in zip(times, sides, strict=True))
    return Result(bar.name, ours / theirs, bar.limit)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.2, help="of timing for each side")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/gpu"))
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("torch sees no CUDA device")
    results = []
    bars = all_bars()
    for bar in bars:
        try:
            results.append(measure(bar, arguments.seconds))
            print(results[-1], flush=True)
        except RuntimeError as error:  # of memory, say: the other rows are still worth having
            print(f"{bar.name:<42} not measured: {str(error).splitlines()[0]}", flush=True)
        torch.cuda.empty_cache()
    rows = [{**asdict(result), "is_met": result.is_met} for result in results]
    write_results("", "cuda", rows, arguments.output)
    met = sum(result.is_met for result in results)
    print(f"{met} of {len(bars)} bars are met")
    return 0 if met == len(bars) else 1


if __name__ == "__main__":
    sys.exit(main())
