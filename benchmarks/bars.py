"""The bars that the CPU kernels have to clear: ratios, each measured in one run.

    python benchmarks/bars.py          # prints a line for each; fails if one falls short

The bars are for a machine with AVX-512. Those of the AVX2 kernels are measured by a second process
under ATEN_CPU_CAPABILITY=avx2. With --any-processor, all of them are measured elsewhere too.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from cases import LAYERS, Case, Task, backward_task, forward_task, training_task
from machine import write_results
from measure import Time, interleaved, keep_memory
from peers import (
    ADD,
    BATCH_NORM_RELU,
    BATCH_NORM_THEN_MPELU,
    CLONE,
    COMPILED,
    ELU,
    FORMULA_BETWEEN,
    OUR_BATCH_NORM_MPELU,
    OUR_ELU,
    OUR_MPELU,
    OUR_MPELU_BETWEEN,
    PRELU,
    Inputs,
    Peer,
    evaluating,
)

SMALL, LARGE = Case((64, 16, 32, 32)), Case((64, 64, 32, 32))
TINY = Case((8, 16, 4, 4))

MakeTask = Callable[[Peer, Inputs], Task]


@dataclass(frozen=True)
class Timed:
    """One side of a ratio."""

    peer: Peer
    make_task: MakeTask
    case: Case

    def task(self) -> Task:
        return self.make_task(self.peer, self.case.inputs())

    @property
    def elements(self) -> int:
        return math.prod(self.case.shape)


@dataclass(frozen=True)
class Bar:
    """ours must take at most `limit` times as long as theirs, for each element of its case."""

    name: str
    ours: Timed
    theirs: Timed
    limit: float
    capability: str = "AVX512"

    def measure(self, seconds: float) -> TimedResult:
        sides = (self.ours, self.theirs)
        times = interleaved([(side.task(), side.case.threads) for side in sides], seconds)
        return self.result(*times)

    def result(self, ours: Time, theirs: Time) -> TimedResult:
        """The ratio is of the times for an element: the cases may differ in size."""
        ratio = ours.median_s / theirs.median_s * self.theirs.elements / self.ours.elements
        return TimedResult(self.name, ratio, self.limit, ours, theirs)


def forward(peer: Peer, case: Case) -> Timed:
    return Timed(peer, forward_task, case)


def backward(peer: Peer, case: Case) -> Timed:
    return Timed(peer, backward_task, case)


def training(peer: Peer, case: Case) -> Timed:
    return Timed(peer, training_task, case)


def bar(
    name: str,
    of: Callable[[Peer, Case], Timed],
    ours: Peer,
    theirs: Peer,
    case: Case,
    limit: float,
    capability: str = "AVX512",
) -> Bar:
    """Ours beside theirs in one case."""
    return Bar(name, of(ours, case), of(theirs, case), limit, capability)


# As many elements as LARGE, in sizes that no vector divides.
ODD = {
    "channels last": replace(LARGE, layout="channels_last"),
    "C = 3": Case((64, 3, 149, 149)),
    "C = 3, channels last": Case((64, 3, 149, 149), layout="channels_last"),
    "inner 1": Case((66577, 63)),
    "inner 7": Case((64, 9377, 7)),
    "inner 49": Case((64, 1343, 7, 7)),
}


def activation_bars() -> list[Bar]:
    bars = [
        bar("forward, 17 MB, of clone", forward, OUR_MPELU, CLONE, LARGE, 1.3),
        bar("forward, 4 MB, of clone", forward, OUR_MPELU, CLONE, SMALL, 2.4),
        bar("backward, 17 MB, of add", backward, OUR_MPELU, ADD, LARGE, 1.3),
        bar("backward, 4 MB, of add", backward, OUR_MPELU, ADD, SMALL, 2.0),
    ]
    for size, case in (("17 MB", LARGE), ("4 MB", SMALL)):
        bars += [
            bar(f"forward, {size}, of torch elu", forward, OUR_MPELU, ELU, case, 1 / 3.5),
            bar(f"forward, {size}, of torch.compile", forward, OUR_MPELU, COMPILED, case, 1.0),
            bar(f"backward, {size}, of torch prelu", backward, OUR_MPELU, PRELU, case, 1 / 12),
            bar(f"elu forward, {size}, of torch elu", forward, OUR_ELU, ELU, case, 1 / 3),
            bar(f"elu forward, {size}, of mpelu", forward, OUR_ELU, OUR_MPELU, case, 1.0),
            bar(f"elu backward, {size}, of mpelu", backward, OUR_ELU, OUR_MPELU, case, 1.0),
        ]
    for name, case in ODD.items():
        for direction, of in (("forward", forward), ("backward", backward)):
            bars.append(Bar(f"{direction}, {name}", of(OUR_MPELU, case), of(OUR_MPELU, LARGE), 1.5))
    for dtype, limit in (("bfloat16", 1 / 3), ("float16", 1 / 3), ("float64", 1.0)):
        case = replace(LARGE, dtype=dtype)
        bars.append(bar(f"forward, {dtype}, of torch elu", forward, OUR_MPELU, ELU, case, limit))
    for direction, of in (("forward", forward), ("backward", backward)):
        two = of(OUR_MPELU, replace(LARGE, threads=2))
        bars.append(Bar(f"{direction}, two threads of one", two, of(OUR_MPELU, LARGE), 1 / 1.7))
    return [
        *bars,
        bar(
            "in torch.compile, 17 MB, of the formula",
            training,
            OUR_MPELU_BETWEEN,
            FORMULA_BETWEEN,
            LARGE,
            1.0,
        ),
        bar("small call, forward, of torch prelu", forward, OUR_MPELU, PRELU, TINY, 1.5),
        bar("small call, training, of torch prelu", training, OUR_MPELU, PRELU, TINY, 1.5),
        bar("forward, AVX2, of torch elu", forward, OUR_MPELU, ELU, LARGE, 1 / 1.7, "AVX2"),
    ]


def batch_norm_bars() -> list[Bar]:
    ours, relus, pair = OUR_BATCH_NORM_MPELU, BATCH_NORM_RELU, BATCH_NORM_THEN_MPELU
    bars = []
    for name, case, limit in (
        ("", LARGE, 1 / 4),
        (", two threads", replace(LARGE, threads=2), 1 / 4),
        (", channels last", replace(LARGE, layout="channels_last"), 1 / 1.5),
    ):
        name = f"batch norm, training{name}, of relu's"
        bars.append(bar(name, training, ours, relus, case, limit))
    evaluated = evaluating(ours), evaluating(relus)
    for shape in (*LAYERS, (64, 256, 8, 8)):  # the last batch norm has a block's output
        case, size = Case(shape), "x".join(map(str, shape))
        bars += [
            bar(f"batch norm, training, {size}, of the pair", training, ours, pair, case, 1.0),
            bar(f"batch norm, evaluation, {size}, of relu's", forward, *evaluated, case, 1.0),
        ]
    return bars


@dataclass(frozen=True)
class Result:
    name: str
    ratio: float
    limit: float

    @property
    def is_met(self) -> bool:
        return self.ratio <= self.limit

    def row(self) -> dict[str, Any]:
        """For a file of results."""
        return {**asdict(self), "is_met": self.is_met}

    def __str__(self) -> str:
        verdict = "ok" if self.is_met else "FALLS SHORT"
        return f"{self.name:<42}{self.ratio:8.3f}  at most{self.limit:7.3f}  {verdict}"


@dataclass(frozen=True)
class TimedResult(Result):
    """Keeps the times too: a ratio alone does not tell which side has changed, nor by how much."""

    ours: Time
    theirs: Time

    @classmethod
    def of_row(cls, row: dict[str, Any]) -> TimedResult:
        ours, theirs = Time(**row["ours"]), Time(**row["theirs"])
        return cls(row["name"], row["ratio"], row["limit"], ours, theirs)


def measure_bars(capability: str, arguments: argparse.Namespace) -> list[TimedResult]:
    results = []
    for bar in (*activation_bars(), *batch_norm_bars()):
        if bar.capability == capability and arguments.bars in bar.name:
            results.append(bar.measure(arguments.seconds))
            print(results[-1], flush=True)
    return results


def measure_in_process_with(capability: str, arguments: argparse.Namespace) -> list[TimedResult]:
    options = ("--only", capability, "--seconds", str(arguments.seconds), "--bars", arguments.bars)
    command = [sys.executable, __file__, *options]
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": capability.lower()}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    lines = done.stdout.splitlines()
    print(*lines[:-1], sep="\n", flush=True)
    return [TimedResult.of_row(row) for row in json.loads(lines[-1])]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="of timing for each side")
    parser.add_argument("--output", type=Path, help="a folder; default: benchmarks/results")
    parser.add_argument(
        "--bars", default="", metavar="TEXT", help="those with TEXT in their name, written nowhere"
    )
    parser.add_argument(
        "--any-processor",
        action="store_true",
        help="measure even where there is no AVX-512, into the folder --output",
    )
    parser.add_argument("--only", choices=("AVX512", "AVX2"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.any_processor and not (arguments.output or arguments.bars):
        parser.error("--any-processor needs an --output, since benchmarks/results is for AVX-512")
    return arguments


def main() -> int:
    arguments = parse_arguments()
    keep_memory()
    if arguments.only:
        print(json.dumps([result.row() for result in measure_bars(arguments.only, arguments)]))
        return 0
    capability = torch.backends.cpu.get_cpu_capability()
    if capability != "AVX512" and not arguments.any_processor:
        print(
            f"the bars are for a machine with AVX-512; this one has {capability} "
            "(--any-processor measures them all the same)",
            file=sys.stderr,
        )
        return 2
    results = measure_bars("AVX512", arguments)
    results += measure_in_process_with("AVX2", arguments)
    if not results:
        print(f"no bar has {arguments.bars!r} in its name", file=sys.stderr)
        return 2
    if not arguments.bars:
        rows = [result.row() for result in results]
        folder = arguments.output or Path("benchmarks/results")
        print("written:", write_results("bars", "cpu", rows, folder))
    short = [result.name for result in results if not result.is_met]
    print(f"{len(results) - len(short)} of {len(results)} bars are met")
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
