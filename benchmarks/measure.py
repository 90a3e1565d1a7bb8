"""How things are timed and their memory is counted."""

from __future__ import annotations

import ctypes
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from cases import Task, training_task
from peers import Inputs, Peer
from torch.autograd.graph import saved_tensors_hooks
from torch.profiler import ProfilerActivity, profile
from torch.utils.benchmark import Timer

ROUNDS = 15
#: So many that a replay's own cost does not count.
CALLS_OF_GRAPH = 20


def keep_memory() -> None:
    """Has the C library keep what is freed, for all peers alike.

    Otherwise some calls are given fresh pages, which the kernel clears at many times the cost of
    what is measured, and which calls those are is a matter of chance.
    """
    mmap_threshold, trim_threshold = -3, -1
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(mmap_threshold, 1 << 30)
        libc.mallopt(trim_threshold, 1 << 30)


@dataclass(frozen=True)
class Time:
    median_s: float
    iqr_s: float


def take_turns(turns: Sequence[Callable[[], float]]) -> list[Time]:
    """ROUNDS turns of each, one after another, so that a change of the machine's mood meets all.

    A turn returns the seconds of one call.
    """
    rounds = [[turn() for turn in turns] for _ in range(ROUNDS)]
    result = []
    for times in zip(*rounds, strict=True):
        low, median, high = statistics.quantiles(times, n=4)
        result.append(Time(median, high - low))
    return result


def interleaved(tasks: Sequence[Task], threads: int, seconds: float, device: str) -> list[Time]:
    """Times the tasks in turns.

    After warm-up each task has ROUNDS turns of as many calls as fit its share of `seconds`; its
    time is the median of its turns.
    """

    def turn(task: Task) -> Callable[[], float]:
        timer = Timer("task()", globals={"task": task}, num_threads=threads)
        timer.timeit(3)
        calls = max(1, int(seconds / ROUNDS / timer.timeit(3).median))
        return lambda: timer.timeit(calls).median

    return take_turns([turn(task) for task in tasks])


@dataclass(frozen=True)
class Captured:
    """What a task puts on the GPU, CALLS_OF_GRAPH times; the task keeps its tensors alive."""

    task: Task
    graph: torch.cuda.CUDAGraph

    @classmethod
    def make(cls, make_task: Callable[[], Task]) -> Captured:
        graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            # Made in the stream of the capture: autograd runs a backward where its forward ran.
            task = make_task()
            for _ in range(3):
                task()
            with torch.cuda.graph(graph, stream=stream):
                for _ in range(CALLS_OF_GRAPH):
                    task()
        return cls(task, graph)

    def seconds(self, replays: int) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(replays):
            self.graph.replay()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3


def interleaved_graphs(makers: Sequence[Callable[[], Task]], seconds: float) -> list[Time]:
    """The same on a GPU, by events, of CUDA graphs: the time that launches take is left out.

    Each of `makers` makes a task.
    """

    def turn(make_task: Callable[[], Task]) -> Callable[[], float]:
        captured = Captured.make(make_task)
        captured.seconds(1)
        replays = max(1, int(seconds / ROUNDS / captured.seconds(1)))
        return lambda: captured.seconds(replays) / replays / CALLS_OF_GRAPH

    return take_turns([turn(make_task) for make_task in makers])


@dataclass(frozen=True)
class Memory:
    """Of one forward and backward: what autograd keeps in between, the peak beside the inputs."""

    saved_bytes: int
    peak_bytes: int


def memory(peer: Peer, inputs: Inputs) -> Memory:
    saved: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    task = training_task(peer, inputs)
    task()
    with saved_tensors_hooks(pack, lambda tensor: tensor):
        task()
    return Memory(sum(saved.values()), peak(task, inputs.x.device))


def peak(task: Task, device: torch.device) -> int:
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        task()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        task()
    now = highest = 0
    # Of operators, what they keep; and what was freed between them.
    for event in sorted(recorded.events(), key=lambda event: event.time_range.start):
        now += event.self_cpu_memory_usage
        highest = max(highest, now)
    return highest
