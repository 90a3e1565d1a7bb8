"""What `make bench-check` and `make gpu` measure can be made and runs: in small, on the CPU."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import bars
import cuda_bars
from atomic_baseline import ATOMIC
from peers import COMPILED

BARS = [
    *bars.activation_bars(),
    *bars.batch_norm_bars(),
    *(bar for group in cuda_bars.groups().values() for bar in group),
]


@pytest.mark.parametrize("bar", BARS, ids=lambda bar: bar.name)
def test_both_sides_of_a_bar_run(bar: bars.Bar) -> None:
    for side in (bar.ours, bar.theirs):
        if side.peer in (ATOMIC, COMPILED):  # need a GPU; take long
            continue
        shape = tuple(min(size, 6) for size in side.case.shape)
        replace(side, case=replace(side.case, shape=shape, device="cpu")).task()()


def test_names_tell_bars_apart() -> None:
    for names in (
        [bar.name for bar in BARS if bar.ours.case.device == "cpu"],
        [bar.name for bar in BARS if bar.ours.case.device == "cuda"],
    ):
        assert len(set(names)) == len(names) > 0
