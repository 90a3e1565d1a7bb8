"""How bars are reckoned, and when the programs that measure them fail: with times made up."""

from __future__ import annotations

import contextlib
import io
import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import accuracy
import bars
import cuda_bars
import networks
import pytest
import torch
from measure import Time
from peers import ADD, CLONE

OURS, THEIRS = Time(2.0, 0.25), Time(1.0, 0.125)
TIMES = {"ours": asdict(OURS), "theirs": asdict(THEIRS)}

Main = Callable[..., int]


def a_bar(limit: float = 2.0, capability: str = "AVX512") -> bars.Bar:
    name = f"{capability}, at most {limit}"
    return bars.bar(name, bars.forward, ADD, CLONE, bars.TINY, limit, capability)


def rows_in(folder: Path) -> list[dict[str, Any]]:
    (path,) = folder.iterdir()
    rows: list[dict[str, Any]] = json.loads(path.read_text())["rows"]
    return rows


@pytest.fixture(autouse=True)
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours takes twice as long as theirs; there is a GPU, and the CPU has AVX-512."""
    monkeypatch.setattr(bars, "interleaved", lambda tasks, seconds: [OURS, THEIRS])
    monkeypatch.setattr(cuda_bars, "interleaved_graphs", lambda tasks, seconds: [OURS, THEIRS])
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    for program in (bars, networks):
        monkeypatch.setattr(program, "keep_memory", lambda: None)


@pytest.fixture
def check_bars(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Main:
    """bars.py with bars of one's own; its second process is a call."""

    def run(command: list[str], env: dict[str, str], **_: object) -> object:
        monkeypatch.setattr(sys, "argv", command[1:])
        assert env["ATEN_CPU_CAPABILITY"] == "avx2"
        with contextlib.redirect_stdout(io.StringIO()) as output:
            bars.main()
        return subprocess.CompletedProcess(command, 0, output.getvalue())

    def main(*all_bars: bars.Bar) -> int:
        monkeypatch.setattr(bars, "activation_bars", lambda: all_bars)
        monkeypatch.setattr(sys, "argv", ["bars.py", "--output", str(tmp_path)])
        return bars.main()

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(bars, "batch_norm_bars", list)
    return main


@pytest.mark.parametrize(("times_as_many", "ratio"), [(1, 2.0), (2, 1.0), (4, 0.5)])
def test_the_ratio_is_of_the_times_for_an_element(times_as_many: int, ratio: float) -> None:
    bar = a_bar()
    channels = bars.TINY.shape[1] * times_as_many
    larger = replace(bars.TINY, shape=(bars.TINY.shape[0], channels, *bars.TINY.shape[2:]))
    bar = replace(bar, ours=replace(bar.ours, case=larger))
    assert bar.measure(0.0).ratio == ratio
    assert cuda_bars.measure(bar, 0.0)["ratio"] == ratio


@pytest.mark.parametrize(
    ("short", "status"), [((), 0), ((a_bar(1.9),), 1), ((a_bar(1.9, "AVX2"),), 1)]
)
def test_bars_of_the_cpu_fail_if_one_falls_short(
    short: tuple[bars.Bar, ...], status: int, check_bars: Main
) -> None:
    assert check_bars(a_bar(), *short, a_bar(2.1), a_bar(2.0, "AVX2")) == status


def test_results_keep_the_times_of_both_sides(check_bars: Main, tmp_path: Path) -> None:
    """Those of the second process too."""
    check_bars(a_bar(), a_bar(1.9, "AVX2"))
    met = {"name": "AVX512, at most 2.0", "ratio": 2.0, "limit": 2.0, "is_met": True, **TIMES}
    short = {"name": "AVX2, at most 1.9", "ratio": 2.0, "limit": 1.9, "is_met": False, **TIMES}
    assert rows_in(tmp_path) == [met, short]
    assert cuda_bars.measure(a_bar(), 0.0) == met


@pytest.mark.parametrize(("limit", "status"), [(2.0, 0), (1.9, 1)])
def test_bars_of_the_gpu_fail_if_one_falls_short(
    limit: float, status: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    groups = {"met": [a_bar(2.1)], "another": [a_bar(2.2), a_bar(limit)]}
    monkeypatch.setattr(cuda_bars, "groups", lambda: groups)
    assert cuda_bars.main(["--output", str(tmp_path)]) == status
    assert len(rows_in(tmp_path)) == 3


@pytest.mark.parametrize(
    ("operator", "dtype", "ulps", "status"),
    [
        ("mpelu.elu", "float32", 2.0, 0),
        ("mpelu.mpelu", "float64", 2.1, 1),
        ("mpelu.mpelu", "bfloat16", 1.1, 1),
        ("mpelu.mpelu", "float32", math.inf, 1),
        ("mpelu.mpelu", "float32", math.nan, 1),
        ("torch elu", "float32", 2.1, 0),
    ],
)
def test_accuracy_fails_where_ours_is_too_far_off(
    operator: str,
    dtype: str,
    ulps: float,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    row = accuracy.Row(operator, dtype, 1.0, 1.0, ulps, 0.0, -1.0, 0.0)
    monkeypatch.setattr(accuracy, "rows", lambda: [row])
    monkeypatch.setattr(sys, "argv", ["accuracy.py", "--output", str(tmp_path)])
    assert accuracy.main() == status


def test_an_infinity_is_an_error_where_the_value_is_finite_or_of_another_sign() -> None:
    x = torch.tensor([-1.0, -90.0])
    y = torch.tensor([0.25 * math.expm1(1), math.inf])
    assert accuracy.measure("", y, x, 0.25, -1.0).largest_ulp == math.inf
    assert accuracy.measure("", y, x - torch.tensor([0, 1]), 0.25, -1.0).largest_ulp < 1
    assert accuracy.measure("", -y, x - torch.tensor([0, 1]), 0.25, -1.0).largest_ulp == math.inf


def network_rows(depth: int, layout: str = "contiguous", **ours: float) -> Iterator[dict[str, Any]]:
    """A network of ours, as good as its bars ask, but for what is given; and ReLU's."""
    row = {"depth": depth, "layout": layout, "median_s": 1.0, "peak_bytes": 100}
    row |= {"first_loss": 2.0, "last_loss": 1.5}
    yield {**row, "network": networks.OURS, "median_s": 0.9, **ours}
    yield {**row, "network": networks.RELU}


@pytest.fixture
def check_networks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Main:
    """networks.py with what a network of ours has at a depth, in a layout."""

    def main(depth: int = 0, layout: str = "contiguous", **ours: float) -> int:
        def measure_case(case: networks.Case, rounds: int) -> Iterator[dict[str, Any]]:
            is_special = (case.depth, case.layout) == (depth, layout)
            return network_rows(case.depth, case.layout, **(ours if is_special else {}))

        monkeypatch.setattr(networks, "measure_case", measure_case)
        monkeypatch.setattr(sys, "argv", ["networks.py", "--output", str(tmp_path)])
        return networks.main()

    monkeypatch.setattr(networks, "print_table", lambda case, rows: None)
    return main


def test_networks_pass_with_every_bar_met(check_networks: Main) -> None:
    assert check_networks() == 0
    assert check_networks(164, "channels_last", median_s=0.91) == 0  # which is no bar


@pytest.mark.parametrize(
    ("depth", "ours"),
    [(164, {"median_s": 0.91}), (164, {"peak_bytes": 101}), (1001, {"peak_bytes": 101})],
)
def test_networks_fail_if_a_bar_falls_short(
    depth: int, ours: dict[str, float], check_networks: Main
) -> None:
    assert check_networks(depth, **ours) == 1


@pytest.mark.parametrize("depth", [164, 1001])
@pytest.mark.parametrize("last_loss", [2.0, 2.1, math.inf, math.nan])
def test_networks_fail_if_one_does_not_train(
    depth: int, last_loss: float, check_networks: Main
) -> None:
    assert check_networks(depth, last_loss=last_loss) == 1


@pytest.mark.parametrize("layout", networks.FORMATS)
def test_a_few_steps_train_each_network(layout: str) -> None:
    case = networks.Case(depth=11, batch=8, device=torch.device("cpu"), layout=layout)
    rows = list(networks.measure_case(case, rounds=2))
    assert {row["network"] for row in rows if networks.trains(row)} == set(networks.NETWORKS)


def test_networks_cut_off_keep_the_cases_before(
    check_networks: Main, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def killed(case: networks.Case, rows: list[networks.Row]) -> None:
        if case.depth == 1001:
            raise KeyboardInterrupt

    monkeypatch.setattr(networks, "print_table", killed)
    with pytest.raises(KeyboardInterrupt):
        check_networks()
    assert rows_in(tmp_path) == [*network_rows(164), *network_rows(164, "channels_last")]


@pytest.mark.parametrize(
    ("options", "folder"),
    [
        ([], "benchmarks/results"),
        (["--device", "cuda"], "benchmarks/results/gpu"),
        (["--device", "cuda", "--output", "here"], "here"),
    ],
)
def test_networks_on_a_gpu_are_written_beside_its_bars(
    options: list[str], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["networks.py", *options])
    assert networks.parse_arguments().output == Path(folder)
