"""What the scripts behind make hand on to the programs that they run."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from programs import ROOT


def bash(script: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", script], env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def train_script(tmp_path: Path) -> Path:
    """scripts/train.sh where nothing is built, and Python prints its arguments, one a line."""
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    for name in ("common.sh", "train.sh"):
        shutil.copy(ROOT / "scripts" / name, scripts)
    (scripts / "build.sh").write_text('source "${BASH_SOURCE[0]%/*}/common.sh"\n')
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    python.chmod(0o755)
    return scripts / "train.sh"


def run(script: Path, arguments: str) -> subprocess.CompletedProcess[str]:
    return bash(script, PATH=os.environ["PATH"], ARGS=arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", []),
        ("--resume", ["--resume"]),
        ("  --lr 0.1\n --depth 20 ", ["--lr", "0.1", "--depth", "20"]),
        ('-k "elu and not mpelu" -x', ["-k", "elu and not mpelu", "-x"]),
        ("--name 'my run' --data=\"a b\" ''", ["--name", "my run", "--data=a b", ""]),
        ("--data * $(touch made) ; ~", ["--data", "*", "$(touch", "made)", ";", "~"]),
    ],
)
def test_args_are_words_as_in_a_shell_and_all_that_is_passed(arguments, words, train_script):
    done = run(train_script, arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["examples/python/train.py", *words]


def test_args_with_half_a_quote_are_an_error(train_script: Path):
    done = run(train_script, "--name 'my run")
    assert done.returncode == 1
    assert done.stdout == ""
    message = "mpelu: error: ARGS cannot be parted into words: --name 'my run"
    assert done.stderr.splitlines()[-1] == message


@pytest.fixture
def make_environment(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Makes the environment ready, with settings, where nothing is installed into it."""
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    for name in ("common.sh", "environment.sh"):
        shutil.copy(ROOT / "scripts" / name, scripts)
    (scripts / "make.sh").write_text(
        """source "${BASH_SOURCE[0]%/*}/environment.sh"
install_system_packages() { :; }
check_disk() { :; }
fill_environment() { echo filled; }
ensure_environment
"""
    )
    for minor in (11, 12):
        python = tmp_path / f"python3.{minor}"
        python.write_text(
            f"""#!/bin/sh
case "$*" in
*"version_info[:2]"*) echo 3 {minor} ;;
"-m venv --clear "*) rm -rf "$4" && mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
esac
"""
        )
        python.chmod(0o755)

    def make(python: str, **settings: str) -> subprocess.CompletedProcess[str]:
        path = os.environ["PATH"]
        return bash(scripts / "make.sh", PATH=path, PYTHON=str(tmp_path / python), **settings)

    return make


def test_the_environment_is_made_once_for_each_python(make_environment):
    filled = []
    for python in ("python3.11", "python3.11", "python3.12", "python3.12"):
        done = make_environment(python)
        assert done.returncode == 0, done.stderr
        filled.append("filled" in done.stdout)
    assert filled == [True, False, True, False]


def test_the_compiler_may_have_arguments(make_environment):
    done = make_environment("python3.11", CXX="g++ -m64")
    assert done.returncode == 0, done.stderr


def test_a_missing_compiler_is_named(make_environment):
    done = make_environment("python3.11", CXX="no-such-compiler -m64")
    assert done.returncode == 1
    message = "mpelu: error: no C++ compiler (no-such-compiler -m64): "
    assert done.stderr.startswith(message)


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
        return bash(self.folder / "scripts" / "gpu.sh", **environment)

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
