"""What the scripts behind make hand on to the programs that they run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from programs import ROOT


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
    environment = {"PATH": os.environ["PATH"], "ARGS": arguments}
    return subprocess.run(
        ["bash", script], env=environment, capture_output=True, text=True, check=False
    )


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
