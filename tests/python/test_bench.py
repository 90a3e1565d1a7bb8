"""What make bench and make bench-networks write, without what they measure."""

from __future__ import annotations

import sys
from pathlib import Path

import bench
import networks
import pytest
import report
from cases import DTYPES


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs bench.py with some arguments; returns the files that it leaves, by their folder."""

    def run(*arguments: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["bench.py", "--device", "cpu", *arguments])
        bench.main()
        return [str(path.parent.relative_to(tmp_path)) for path in tmp_path.rglob("*.json")]

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench, "keep_memory", lambda: None)
    monkeypatch.setattr(bench, "measure_case", lambda case, peers, seconds: [])
    return run


@pytest.mark.parametrize("arguments", [[], ["--dtypes", *DTYPES]])
def test_all_speeds_are_written_among_the_results(arguments: list[str], written):
    assert written(*arguments) == ["benchmarks/results"]


@pytest.mark.parametrize("arguments", [["--dtypes", "bfloat16"], ["--peers", bench.PEERS[0].name]])
def test_some_speeds_are_written_only_where_asked(arguments: list[str], written):
    """The documents show the newest results, and these would replace all of the day's."""
    assert written(*arguments) == []
    assert written(*arguments, "--output", "here") == ["here"]


def test_speeds_without_the_case_to_show_are_named():
    environment = {"device": "a processor", "cpu_capability": "AVX2", "torch": "2", "date": "now"}
    result = {"environment": environment, "rows": [{**report.SHOWN, "dtype": "bfloat16"}]}
    with pytest.raises(SystemExit, match=r"the speeds of a processor.* lack the case to show"):
        report.speed_table(result)


def test_the_elu_network_has_the_layers_of_the_others():
    elu, relu = networks._torch_elu(29), networks.NETWORKS[networks.RELU](29)
    assert [p.shape for p in elu.parameters()] == [p.shape for p in relu.parameters()]
