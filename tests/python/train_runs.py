"""What the tests of the training program share."""

from __future__ import annotations

import sys

import pytest
import train
from programs import EXAMPLES

DIGITS = ["--dataset", "digits", "--depth", "11"]
# One step: not to learn, but to see what becomes of a run.
QUICK = [*DIGITS, "--epochs", "1", "--max-steps-per-epoch", "1"]
# Enough steps in an epoch for a signal to arrive between them.
STEPS = 60
RUN = [*DIGITS, "--epochs", "2", "--max-steps-per-epoch", str(STEPS), "--threads", "1"]

FILES = ["activations.png", "checkpoint.pt", "curves.png", "log.csv", "summary.json"]
MEASURED = ("seconds", "images_per_second")  # differ from run to run


def command(*arguments: object) -> list[str]:
    return [sys.executable, str(EXAMPLES / "train.py"), *map(str, arguments)]


def run_main(capsys: pytest.CaptureFixture, *arguments: object) -> tuple[int, str]:
    """Runs train.py's main here; returns the exit status and what it wrote to stderr."""
    try:
        status = train.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        status = stop.code
    return status, capsys.readouterr().err


def without_measured(rows: list[dict]) -> list[dict]:
    return [{key: row[key] for key in row if key not in MEASURED} for row in rows]
