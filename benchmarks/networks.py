"""Times a training step of whole networks, MPELU's and those of torch's own activations.

    python benchmarks/networks.py
    python benchmarks/networks.py --device cuda    # written into benchmarks/results/gpu

A step is forward, loss, backward and SGD, in float32, on random images. Prints a table and the
bars, writes one JSON file with the date, the machine and the versions, and fails if a bar falls
short or a network does not train.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from bars import Result
from machine import write_results
from measure import clocked, keep_memory, peak, take_turns
from torch import Tensor, nn

import mpelu
from mpelu.autograd import recompute_activations
from mpelu.models import MPELUResNet, mpelu_resnet

CLASSES = 10
OURS, RELU = "mpelu", "torch relu"


def _torch_elu(depth: int) -> nn.Module:
    return MPELUResNet((depth - 2) // 9, CLASSES, 3, lambda channels: nn.ELU(inplace=True))


def _recomputing(depth: int) -> nn.Module:
    model = mpelu_resnet(depth, CLASSES)
    model.forward = recompute_activations()(model.forward)
    return model


RESULTS = {"cpu": Path("benchmarks/results"), "cuda": Path("benchmarks/results/gpu")}
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}

#: By depth. torch's own activations are in place where they can be, which takes the least memory.
NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    OURS: lambda depth: mpelu_resnet(depth, CLASSES),
    "mpelu, recomputed": _recomputing,
    "mpelu, not fused": lambda depth: mpelu_resnet(depth, CLASSES, fused=False),
    RELU: lambda depth: mpelu_resnet(depth, CLASSES, activation="relu"),
    "torch elu": _torch_elu,
    "torch prelu": lambda depth: mpelu_resnet(depth, CLASSES, activation="prelu"),
}

Row = dict[str, Any]


@dataclass(frozen=True)
class Bar:
    """A network of ours takes at most `limit` times as much of `key` as ReLU's of that depth.

    Both are contiguous.
    """

    what: str
    key: str
    depth: int
    limit: float

    @property
    def name(self) -> str:
        return f"{self.what}, depth {self.depth}, of {RELU}"

    def result(self, rows: list[Row]) -> Result | None:
        """None where the networks of that depth are not among the rows."""
        case = (self.depth, "contiguous")
        found = {row["network"]: row[self.key] for row in rows if case_of(row) == case}
        if not {OURS, RELU} <= found.keys():
            return None
        return Result(self.name, found[OURS] / found[RELU], self.limit)


def case_of(row: Row) -> tuple[int, str]:
    """What tells apart the cases of one file."""
    return row["depth"], row["layout"]


BARS = (
    Bar("step", "median_s", 164, 0.9),
    Bar("peak memory", "peak_bytes", 164, 1.0),
    Bar("peak memory", "peak_bytes", 1001, 1.0),
)


@dataclass(frozen=True)
class Case:
    depth: int
    batch: int
    device: torch.device
    layout: str = "contiguous"

    def label(self) -> str:
        threads = torch.get_num_threads()
        counted = f", {threads} thread{'s' * (threads > 1)}" * (self.device.type == "cpu")
        return f"depth {self.depth}, batch {self.batch}, {self.layout} on {self.device}{counted}"


class TrainingStep:
    """A step on the same images each time; it notes its losses."""

    def __init__(self, make: Callable[[int], nn.Module], case: Case) -> None:
        torch.manual_seed(0)
        memory_format = FORMATS[case.layout]
        images = torch.randn(case.batch, 3, 32, 32, device=case.device)
        self.model = make(case.depth).to(case.device, memory_format=memory_format)
        self.images = images.contiguous(memory_format=memory_format)
        self.labels = torch.arange(case.batch, device=case.device) % CLASSES
        groups = mpelu.optim.param_groups(self.model, lr=0.01, weight_decay=1e-4)
        self.optimizer = torch.optim.SGD(groups, momentum=0.9)
        self.losses: list[Tensor] = []

    def __call__(self) -> None:
        loss = F.cross_entropy(self.model(self.images), self.labels)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.losses.append(loss.detach())


def measure_case(case: Case, rounds: int) -> Iterator[Row]:
    steps = {name: TrainingStep(make, case) for name, make in NETWORKS.items()}
    for step in (*steps.values(), *steps.values()):  # warm up; the optimisers' state is made
        step()
    turns = [clocked(step, case.device) for step in steps.values()]
    for (name, step), time in zip(steps.items(), take_turns(turns, rounds), strict=True):
        yield {
            **asdict(case),
            "device": case.device.type,
            "threads": torch.get_num_threads(),
            "network": name,
            "parameters": sum(p.numel() for p in step.model.parameters()),
            **asdict(time),
            "peak_bytes": peak(step, case.device),
            "first_loss": step.losses[0].item(),
            "last_loss": step.losses[-1].item(),
        }


def print_table(case: Case, rows: list[Row]) -> None:
    print(f"\n{case.label()}")
    heads = ("step ms", "iqr", "x relu", "peak MB", "x relu", "first loss", "last loss")
    print(" " * 18, *(f"{head:>10}" for head in heads))
    relu = next(row for row in rows if row["network"] == RELU)
    for row in rows:
        cells = (
            f"{row['median_s'] * 1e3:.0f}",
            f"{row['iqr_s'] * 1e3:.0f}",
            f"{row['median_s'] / relu['median_s']:.3f}",
            f"{row['peak_bytes'] / 1e6:.1f}",
            f"{row['peak_bytes'] / relu['peak_bytes']:.3f}",
            f"{row['first_loss']:.3f}",
            f"{row['last_loss']:.3f}",
        )
        print(f"{row['network']:<18}", *(f"{cell:>10}" for cell in cells), flush=True)


def trains(row: Row) -> bool:
    """The images are the same in each step, so that even a few steps lower the loss."""
    return bool(row["last_loss"] < row["first_loss"])


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=7, help="timed steps of each network")
    parser.add_argument("--output", type=Path, help="a folder; default: benchmarks/results[/gpu]")
    arguments = parser.parse_args()
    arguments.output = arguments.output or RESULTS[arguments.device]
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no CUDA device")
    if arguments.rounds < 2:
        parser.error("--rounds: at least 2")
    return arguments


def main() -> int:
    arguments = parse_arguments()
    keep_memory()
    device = torch.device(arguments.device)
    rows: list[Row] = []
    for case in (
        Case(164, 64, device),
        Case(164, 64, device, "channels_last"),
        Case(1001, 8 if device.type == "cpu" else 64, device),
    ):
        of_case = list(measure_case(case, arguments.rounds))
        print_table(case, of_case)
        rows += of_case
        # After every case: who kills this keeps what is measured.
        path = write_results("networks", device.type, rows, arguments.output)
    print("written:", path)
    results = [bar.result(rows) for bar in BARS]
    print(*results, sep="\n")
    untrained = [row for row in rows if not trains(row)]
    for row in untrained:
        losses = f"{row['first_loss']:.3f} at first and {row['last_loss']:.3f} at last"
        print(f"{row['network']}, depth {row['depth']}: the loss is {losses}")
    return 0 if all(result and result.is_met for result in results) and not untrained else 1


if __name__ == "__main__":
    sys.exit(main())
