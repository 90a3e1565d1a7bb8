"""What `make bench-check` and `make gpu` measure can be made and runs: in small, on the CPU."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import bars
import cuda_bars
from atomic_baseline import ATOMIC
from programs import ROOT

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


@dataclass
class MakeGpu:
    """scripts/gpu.sh where a Python and a compute-sanitizer only note what they are called for."""

    folder: Path

    def program(self, path: str, fails_on: str = "") -> None:
        """One that notes its arguments, and fails where these have a certain text in them."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            f"""#!/bin/sh
mkdir -p {self.folder}/build/gpu
echo "$@" >> {self.folder}/calls
case "$*" in *get_device_capability*) echo 9.0;; *"{fails_on or "no call has this"}"*) exit 1;; esac
"""
        )
        file.chmod(0o755)

    def __call__(self, steps: str = "") -> subprocess.CompletedProcess[str]:
        """In an environment with no more programs than the script needs."""
        environment = {
            "PATH": str(self.folder / "bin"),
            "CUDA_HOME": str(self.folder / "cuda"),
            "PYTHON": str(self.folder / "bin" / "python3"),
            **({"STEPS": steps} if steps else {}),
        }
        return subprocess.run(
            ["bash", self.folder / "scripts" / "gpu.sh"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def calls(self, text: str) -> list[str]:
        return [call for call in (self.folder / "calls").read_text().splitlines() if text in call]


@pytest.fixture
def make_gpu(tmp_path: Path) -> MakeGpu:
    (tmp_path / "scripts").mkdir()
    for name in ("common.sh", "gpu.sh"):
        shutil.copy(ROOT / "scripts" / name, tmp_path / "scripts")
    make_gpu = MakeGpu(tmp_path)
    for name in ("python3", "cmake", "ctest"):
        make_gpu.program(f"bin/{name}")
    make_gpu.program("cuda/bin/compute-sanitizer")
    for name in (
        "awk",
        "bash",
        "dirname",
        "mkdir",
        "nproc",
        "sh",
        "tail",
        "tee",
        "timeout",
        "xargs",
    ):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    return make_gpu


PROGRAMS = [
    "test_train*.py tests/python/test_cuda.py",
    "benchmarks/cuda_bars.py",
    "benchmarks/report.py gpu",
    "benchmarks/networks.py --device cuda",
    "benchmarks/report.py --no-charts networks",
    "--tool memcheck",
    "--tool racecheck",
    "--tool initcheck",
    "--tool synccheck",
    "--ignore tests/python/test_cuda.py",
]


def test_make_gpu_runs_every_step(make_gpu: MakeGpu) -> None:
    done = make_gpu()
    assert done.returncode == 0, done.stderr
    for program in PROGRAMS:
        assert make_gpu.calls(program), program


@pytest.mark.parametrize("failing", ["cuda_bars.py", "networks.py", "report.py"])
def test_a_step_of_make_gpu_that_fails_costs_none_of_the_others(
    failing: str, make_gpu: MakeGpu
) -> None:
    make_gpu.program("bin/python3", fails_on=failing)
    done = make_gpu()
    assert done.returncode == 1
    assert "mpelu: error: failed: " in done.stderr
    for program in PROGRAMS:
        assert make_gpu.calls(program), program


def test_steps_of_make_gpu_can_be_left_out(make_gpu: MakeGpu) -> None:
    done = make_gpu("networks")
    assert done.returncode == 0, done.stderr
    run = [program for program in PROGRAMS if make_gpu.calls(program)]
    assert run == [
        "benchmarks/networks.py --device cuda",
        "benchmarks/report.py --no-charts networks",
    ]


def test_make_gpu_fails_without_a_compute_sanitizer(make_gpu: MakeGpu) -> None:
    (make_gpu.folder / "cuda/bin/compute-sanitizer").unlink()
    done = make_gpu("sanitizers")
    assert done.returncode == 1
    assert "failed: compute-sanitizer" in done.stderr
    assert make_gpu("networks").returncode == 0
