"""How things are timed and their memory is counted."""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from cases import Task
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
    most = (1 << 31) - 1  # more than a whole network's step
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(mmap_threshold, most)
        libc.mallopt(trim_threshold, most)


@dataclass(frozen=True)
class Time:
    median_s: float
    iqr_s: float


def take_turns(turns: Sequence[Callable[[], float]], rounds: int = ROUNDS) -> list[Time]:
    """So many turns of each, one after another: a change of the machine's mood meets all.

    A turn returns the seconds of one call.
    """
    taken = [[turn() for turn in turns] for _ in range(rounds)]
    result = []
    for times in zip(*taken, strict=True):
        low, median, high = statistics.quantiles(times, n=4)
        result.append(Time(median, high - low))
    return result


def interleaved(tasks: Sequence[tuple[Task, int]], seconds: float) -> list[Time]:
    """Times tasks, each with its number of threads, in turns.

    After warm-up each task has ROUNDS turns of as many calls as fit its share of `seconds`; its
    time is the median of its turns.
    """

    def turn(task: Task, threads: int) -> Callable[[], float]:
        # As a variable's value, a result lives until the next one is there. Otherwise it is up to
        # the allocator whose memory a call writes to: that of the call before, which is in part in
        # the caches yet, or another's (a tenth to a seventh of the time of 17 MB on Zen 5).
        timer = Timer("result = task()", globals={"task": task}, num_threads=threads)
        timer.timeit(3)
        calls = max(1, int(seconds / ROUNDS / timer.timeit(3).median))
        return lambda: timer.timeit(calls).median

    return take_turns([turn(task, threads) for task, threads in tasks])


def clocked(task: Task, device: torch.device) -> Callable[[], float]:
    """A turn of one call, for tasks that take long: torch's Timer makes more before each."""

    def synchronise() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def turn() -> float:
        synchronise()
        start = time.perf_counter()
        task()
        synchronise()
        return time.perf_counter() - start

    return turn


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
                    _result = task()  # lives until the next one is there, as in interleaved()
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


def memory(task: Task, device: torch.device) -> Memory:
    task()
    return Memory(saved(task), peak(task, device))


def saved(task: Task) -> int:
    storages: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        task()
    return sum(storages.values())


def peak(task: Task, device: torch.device) -> int:
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        task()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        task()
    # Every allocation and, below 0, every release, also those inside of an operator.
    events = sorted(recorded.profiler.kineto_results.events(), key=lambda event: event.start_ns())
    return max(accumulate(e.nbytes() for e in events if e.name() == "[memory]"), default=0)
