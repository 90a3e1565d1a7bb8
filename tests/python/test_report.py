"""What the documents say of the results: never a number that no file has."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cuda_bars
import networks
import pytest
import report

Row = dict[str, Any]
Write = Callable[[str, list[Row]], None]

GROUPS = {group: [bar.name for bar in bars] for group, bars in cuda_bars.groups().items()}
FACTS = {"cpu_capability": "AVX2", "torch": "2.99"}
TIME = {"median_s": 1.0, "iqr_s": 0.1}


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a file of results into a folder that has no others; its name ends with its date."""

    def write(name: str, rows: list[Row]) -> None:
        path = tmp_path / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        facts = {**FACTS, "device": f"the device of {name}", "date": name[-10:]}
        path.write_text(json.dumps({"environment": facts, "rows": rows}))

    monkeypatch.setattr(report, "RESULTS", tmp_path)
    return write


def cells(table: str) -> dict[str, list[str]]:
    """The lines of a table by their first cell."""
    lines = [line.strip("| ").split(" | ") for line in table.splitlines() if line[:1] == "|"]
    return {first: others for first, *others in lines}


def bar_row(name: str, ratio: float) -> Row:
    return {"name": name, "ratio": ratio, "limit": 1.0, "is_met": ratio <= 1.0}


def gpu_column() -> dict[str, str]:
    """What the table says of each group."""
    lines = cells(report.gpu_table())
    return {group: lines[group][1] for group in GROUPS}


def test_without_a_gpu_none_of_its_bars_has_a_number(write: Write) -> None:
    assert "No GPU has been measured yet" in report.gpu_table()
    assert gpu_column() == dict.fromkeys(GROUPS, "not measured")


def test_a_part_of_the_bars_leaves_the_others_not_measured(write: Write) -> None:
    group, names = next((group, names) for group, names in GROUPS.items() if len(names) == 4)
    write("gpu/a-GPU-2026-01-01", [bar_row(names[0], 0.25), bar_row(names[1], 0.5)])
    worst = f"0.50, {names[1].removeprefix(group + ': ')}; 2 not measured"
    assert gpu_column() == {**dict.fromkeys(GROUPS, "not measured"), group: worst}


def test_all_bars_show_the_worst_of_each_group(write: Write) -> None:
    rows = [bar_row(name, 0.5 + i) for names in GROUPS.values() for i, name in enumerate(names)]
    write("gpu/a-GPU-2026-01-01", rows)
    for group, worst in gpu_column().items():
        names = GROUPS[group]
        short = " (falls short)" if len(names) > 1 else ""
        last = names[-1].removeprefix(group + ": ")
        assert worst == f"{len(names) - 0.5:.2f}{short}, {last}"


def test_networks_of_a_gpu_are_no_bars_of_its_kernels(write: Write) -> None:
    write("gpu/networks-2026-01-02", network_rows("cuda"))
    assert gpu_column() == dict.fromkeys(GROUPS, "not measured")
    write("gpu/a-GPU-2026-01-01", [])
    assert "the device of gpu/a-GPU" in report.gpu_table()


def network_rows(device: str, depths: tuple[int, ...] = (164, 1001)) -> list[Row]:
    """Networks that take 0.5 times what ReLU's take, or on a GPU 0.25 times."""
    ratio = {"cpu": 0.5, "cuda": 0.25}[device]
    return [
        {
            "depth": depth,
            "layout": "contiguous",
            "batch": 64,
            "device": device,
            "threads": 2,
            "network": network,
            "median_s": times,
            "peak_bytes": times * 1e6,
        }
        for depth in depths
        for network, times in ((networks.OURS, ratio), (networks.RELU, 1.0))
    ]


def bars_of_networks() -> dict[str, tuple[str, str]]:
    """Name -> what is said of the CPU and of the GPU."""
    lines = cells(report.networks_table())
    return {bar.name: (lines[bar.name][0], lines[bar.name][1]) for bar in networks.BARS}


BAR_NAMES = [bar.name for bar in networks.BARS]


def test_networks_without_results_have_no_number(write: Write) -> None:
    assert "Not measured yet" in report.networks_table()
    assert bars_of_networks() == dict.fromkeys(BAR_NAMES, ("not measured", "not measured"))


def test_networks_on_the_cpu_alone_are_not_measured_on_a_gpu(write: Write) -> None:
    write("networks-2026-01-01", network_rows("cpu"))
    assert bars_of_networks() == dict.fromkeys(BAR_NAMES, ("0.500", "not measured"))


def test_networks_on_a_gpu_alone_are_not_measured_on_the_cpu(write: Write) -> None:
    write("gpu/networks-2026-01-01", network_rows("cuda"))
    assert "Not measured yet" in report.networks_table()
    assert bars_of_networks() == dict.fromkeys(BAR_NAMES, ("not measured", "0.250"))


@pytest.mark.parametrize("folder", ["", "gpu/"])
def test_networks_on_a_gpu_stand_beside_those_on_the_cpu(folder: str, write: Write) -> None:
    """Also where they are newer, and in whichever folder."""
    write("networks-2026-01-01", network_rows("cpu"))
    on_cpu, _ = report.networks_table().split("| as a ratio")
    write(f"{folder}networks-gpu-2026-01-02", network_rows("cuda"))
    on_both, _ = report.networks_table().split("| as a ratio")
    assert on_both.startswith(f"{on_cpu}the device of {folder}networks-gpu-2026-01-02, torch 2.99")
    head = "| depth, batch | | step | x ReLU | peak memory | x ReLU |"
    assert on_cpu.count(head) == 1
    assert on_both.count(head) == 2
    assert bars_of_networks() == dict.fromkeys(BAR_NAMES, ("0.500", "0.250"))


def test_the_newest_networks_of_a_device_are_shown(write: Write) -> None:
    write("gpu/networks-2026-01-02", network_rows("cuda"))
    write("networks-2026-01-03", network_rows("cuda", depths=(164,)))
    write("networks-a-2026-01-02", network_rows("cpu", depths=(164,)))
    write("networks-b-2026-01-01", network_rows("cpu"))
    table = report.networks_table()
    assert "networks-2026-01-03" in table and "networks-a-2026-01-02" in table
    assert table.count("the device of") == 2


def test_a_depth_that_was_cut_off_is_not_measured(write: Write) -> None:
    write("gpu/networks-2026-01-01", network_rows("cuda", depths=(164,)))
    on_gpu = {name: found for name, (_, found) in bars_of_networks().items()}
    assert on_gpu == {name: "not measured" if "1001" in name else "0.250" for name in on_gpu}


def test_networks_in_channels_last_are_named_and_are_no_bars(write: Write) -> None:
    rows = [{**row, "layout": "channels_last"} for row in network_rows("cpu")]
    write("networks-2026-01-01", rows)
    assert bars_of_networks() == dict.fromkeys(BAR_NAMES, ("not measured", "not measured"))
    write("networks-2026-01-02", [*network_rows("cpu"), *rows])
    assert bars_of_networks() == dict.fromkeys(BAR_NAMES, ("0.500", "not measured"))
    table = report.networks_table()
    assert table.count("| 164, 64 |") == table.count("| 164, 64, channels last |") == 2


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The devices whose networks are drawn."""
    drawn: list[str] = []
    monkeypatch.setattr(report, "write_block", lambda table, content: None)
    monkeypatch.setattr(
        report, "draw_networks", lambda result: drawn.append(result["rows"][0]["device"])
    )
    return drawn


@pytest.mark.parametrize(("options", "devices"), [([], ["cpu"]), (["--no-charts"], [])])
def test_the_chart_is_of_the_cpu(
    options: list[str],
    devices: list[str],
    write: Write,
    drawn: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write("networks-2026-01-01", network_rows("cpu"))
    write("gpu/networks-2026-01-02", network_rows("cuda"))
    monkeypatch.setattr(sys, "argv", ["report.py", *options, "networks"])
    report.main()
    assert drawn == devices


@pytest.mark.parametrize("times", [{}, {"ours": TIME, "theirs": TIME}])
def test_bars_are_read_with_and_without_their_times(times: Row, write: Write) -> None:
    """Older files have ratios alone."""
    name = "forward, 17 MB, of torch.compile"
    write("folder/bars-2026-01-01", [{**bar_row(name, 0.5), **times}])
    result = report.newest_of("folder/bars")
    assert cells(report.bars_table(result))[name] == ["0.500", "1.000"]
    assert report.bars_summary(result).startswith("1 of 1 bars")
    assert ["1 of 1", "0.50", "not measured"] in cells(report.machines_table()).values()


def test_other_machines_show_their_training_step(write: Write) -> None:
    write("folder/bars-2026-01-01", [bar_row("forward, 17 MB, of torch.compile", 0.5)])
    write("folder/networks-2026-01-02", network_rows("cpu"))
    assert ["1 of 1", "0.50", "0.500"] in cells(report.machines_table()).values()


@pytest.mark.parametrize("table", report.WRITERS)
def test_documents_have_what_the_results_say(
    table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An edit by hand is lost with the next measurement: benchmarks/report.py writes the blocks."""
    documents = report.DOCUMENTS
    copies = [Path(shutil.copy(document, tmp_path)) for document in documents]
    monkeypatch.setattr(report, "DOCUMENTS", copies)
    report.write_block(table, report.WRITERS[table]())
    assert [path.read_text() for path in documents] == [path.read_text() for path in copies]
