"""What `make bench-check` and `make gpu` measure can be made and runs: in small, on the CPU."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import bars
import cuda_bars
import pytest
import torch
from atomic_baseline import ATOMIC
from measure import ROUNDS, interleaved

BARS = [
    *bars.activation_bars(),
    *bars.batch_norm_bars(),
    *(bar for group in cuda_bars.groups().values() for bar in group),
]


@pytest.mark.parametrize("bar", BARS, ids=lambda bar: bar.name)
def test_both_sides_of_a_bar_run(bar: bars.Bar) -> None:
    for side in (bar.ours, bar.theirs):
        if side.peer is ATOMIC or "torch.compile" in side.peer.name:  # need a GPU; take long
            continue
        shape = tuple(min(size, 6) for size in side.case.shape)
        replace(side, case=replace(side.case, shape=shape, device="cpu")).task()()


def test_a_timed_call_does_not_write_to_the_memory_of_the_call_before() -> None:
    """Where the allocator lets one do so, the caches still have a part of that memory."""
    pointers: list[int] = []

    def task() -> torch.Tensor:
        result = torch.empty(1 << 20)
        pointers.append(result.data_ptr())
        return result

    interleaved([(task, 1)], seconds=0.01)
    repeated = sum(a == b for a, b in pairwise(pointers))
    assert len(pointers) > 10 * ROUNDS
    assert repeated <= 2 * (2 + ROUNDS)  # only where a turn or a warm-up ends, torch's own too


def test_a_bar_that_fails_costs_none_of_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The rest of the bars of a GPU are measured in another process, and all rows are kept."""
    names = [bar.name for group in cuda_bars.groups().values() for bar in group]
    failing = {names[0], names[3], names[-1]}
    runs = 0

    def measure(bar: bars.Bar, seconds: float) -> dict[str, object]:
        if bar.name in failing:
            raise RuntimeError("a launch failed")
        return {"name": bar.name, "is_met": True, "run": runs}

    def execv(path: str, argv: list[str]) -> None:
        nonlocal runs
        runs += 1
        raise SystemExit(cuda_bars.main(argv[2:]))

    monkeypatch.setattr(cuda_bars, "measure", measure)
    monkeypatch.setattr(cuda_bars.os, "execv", execv)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    with pytest.raises(SystemExit, match="1"):
        cuda_bars.main(["--output", str(tmp_path)])
    (path,) = tmp_path.iterdir()
    rows = json.loads(path.read_text())["rows"]
    assert [row["name"] for row in rows] == [name for name in names if name not in failing]
    assert {row["run"] for row in rows} == {1, 2}
    assert runs == len(failing)


def test_names_tell_bars_apart() -> None:
    for names in (
        [bar.name for bar in BARS if bar.ours.case.device == "cpu"],
        [bar.name for bar in BARS if bar.ours.case.device == "cuda"],
    ):
        assert len(set(names)) == len(names) > 0
