"""How things are timed and their memory is counted."""

from __future__ import annotations

import ctypes
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from cases import Task, training_task
from peers import Inputs, Peer
from torch.autograd.graph import saved_tensors_hooks
from torch.profiler import ProfilerActivity, profile
from torch.utils.benchmark import Timer

ROUNDS = 15


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


def interleaved(tasks: Sequence[Task], threads: int, seconds: float, device: str) -> list[Time]:
    """Times the tasks in turns, so that a change of the machine's mood meets all of them.

    After warm-up each task has ROUNDS turns of as many calls as fit its share of `seconds`; its
    time is the median of its turns.
    """
    timers = [Timer("task()", globals={"task": task}, num_threads=threads) for task in tasks]
    calls = []
    for timer in timers:
        timer.timeit(3)
        once = timer.timeit(3).median
        calls.append(max(1, int(seconds / ROUNDS / once)))
    turns: list[list[float]] = [[] for _ in timers]
    for _ in range(ROUNDS):
        for timer, number, times in zip(timers, calls, turns, strict=True):
            times.append(timer.timeit(number).median)
    result = []
    for times in turns:
        low, median, high = statistics.quantiles(times, n=4)
        result.append(Time(median, high - low))
    return result


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
