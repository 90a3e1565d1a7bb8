"""Times every peer side by side: forward and backward, over sizes, dtypes and memory formats.

    python benchmarks/bench.py --device cpu --threads 1 2
    python benchmarks/bench.py --device cuda --output benchmarks/results/gpu

Prints a table and writes one JSON file with the date, the machine and the versions.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import platform
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from peers import BACKWARD_LIMIT, FORWARD_LIMIT, PEERS, Inputs, Peer
from torch import Tensor
from torch.utils.benchmark import Timer

import mpelu

# [N, C, H, W] of the layers of the CIFAR residual networks at batch 64, and one past the caches.
NETWORK_SHAPES = ((64, 16, 32, 32), (64, 32, 16, 16), (64, 64, 8, 8), (64, 64, 32, 32))
GPU_SHAPES = (*NETWORK_SHAPES, (64, 256, 32, 32), (256, 256, 32, 32))
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
MEMORY_FORMATS = {
    "contiguous": torch.contiguous_format,
    "channels_last": torch.channels_last,
}


@dataclass(frozen=True)
class Case:
    device: str
    shape: tuple[int, ...]
    dtype: str
    memory_format: str
    threads: int

    def inputs(self) -> Inputs:
        torch.manual_seed(0)
        dtype = DTYPES[self.dtype]

        def tensor() -> Tensor:
            values = torch.randn(self.shape, device=self.device).to(dtype)
            return values.to(memory_format=MEMORY_FORMATS[self.memory_format])

        channels = self.shape[1]
        return Inputs(
            x=tensor().requires_grad_(),
            alpha=torch.rand(channels, device=self.device).to(dtype).requires_grad_(),
            beta=torch.rand(channels, device=self.device).to(dtype).requires_grad_(),
            grad_output=tensor(),
        )

    def label(self) -> str:
        shape = "x".join(map(str, self.shape))
        return f"{shape} {self.dtype} {self.memory_format}, {self.threads} threads on {self.device}"


def forward_task(peer: Peer, inputs: Inputs) -> Callable[[], object]:
    def task() -> Tensor:
        with torch.no_grad():
            return peer.forward(inputs)

    return task


def backward_task(peer: Peer, inputs: Inputs) -> Callable[[], object]:
    output = peer.forward(inputs)
    wanted = peer.differentiable(inputs)

    def task() -> tuple[Tensor, ...]:
        return torch.autograd.grad(output, wanted, inputs.grad_output, retain_graph=True)

    return task


def tasks(inputs: Inputs, names: list[str]) -> Iterator[tuple[str, str, Callable[[], object]]]:
    """Yields (direction, peer, what to time); the limits come first."""
    x, grad_output = inputs.x.detach(), inputs.grad_output
    yield "forward", FORWARD_LIMIT, x.clone
    for peer in PEERS:
        if peer.name in names:
            yield "forward", peer.name, forward_task(peer, inputs)
    yield "backward", BACKWARD_LIMIT, lambda: torch.add(x, grad_output)
    for peer in PEERS:
        if peer.name in names:
            yield "backward", peer.name, backward_task(peer, inputs)


def measure(case: Case, names: list[str], seconds: float) -> Iterator[dict[str, object]]:
    limits: dict[str, float] = {}
    for direction, name, task in tasks(case.inputs(), names):
        task()
        timer = Timer("task()", globals={"task": task}, num_threads=case.threads)
        result = timer.blocked_autorange(min_run_time=seconds)
        limit = limits.setdefault(direction, result.median)
        yield {
            **asdict(case),
            "direction": direction,
            "peer": name,
            "median_s": result.median,
            "iqr_s": result.iqr,
            "of_limit": result.median / limit,
        }


def environment(device: str) -> dict[str, object]:
    return {
        "date": datetime.date.today().isoformat(),
        "device": torch.cuda.get_device_name() if device == "cuda" else processor_name(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "mpelu": mpelu.build_info(),
    }


def processor_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def print_row(row: dict[str, object]) -> None:
    print(
        f"  {row['direction']:<9}{row['peer']:<24}{float(row['median_s']) * 1e3:10.4f} ms"
        f"{float(row['of_limit']):9.2f} x limit",
        flush=True,
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="CPU threads")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=["float32", "bfloat16"])
    parser.add_argument(
        "--peers", nargs="+", choices=[p.name for p in PEERS], default=[p.name for p in PEERS]
    )
    parser.add_argument("--seconds", type=float, default=0.2, help="of timing for each row")
    parser.add_argument(
        "--output", type=Path, default=Path("benchmarks/results"), help="folder of the JSON file"
    )
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no CUDA device")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    shapes = GPU_SHAPES if arguments.device == "cuda" else NETWORK_SHAPES
    rows: list[dict[str, object]] = []
    for shape, dtype, memory_format, threads in itertools.product(
        shapes, arguments.dtypes, MEMORY_FORMATS, arguments.threads
    ):
        case = Case(arguments.device, shape, dtype, memory_format, threads)
        print(case.label())
        for row in measure(case, arguments.peers, arguments.seconds):
            print_row(row)
            rows.append(row)

    facts = environment(arguments.device)
    name = str(facts["device"]).replace(" ", "-").replace("(R)", "")
    path = arguments.output / f"{name}-{facts['date']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"environment": facts, "rows": rows}, indent=1) + "\n")
    print(f"written: {path}")


if __name__ == "__main__":
    main()
