"""The training program's errors, each one line."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import files
import pytest
import torch
import train
from train_runs import QUICK, RUN, command, run_main

import mpelu


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "argument --epochs: expected at least 1, got 0"),
        (["--batch-size", "-3"], "argument --batch-size: expected at least 1, got -3"),
        (["--depth", "twenty"], "argument --depth: invalid int value: 'twenty'"),
        (["--threads", "0"], "argument --threads: expected at least 1, got 0"),
        (["--lr", "nan"], "argument --lr: expected a finite number, got nan"),
        (["--alpha", "inf"], "argument --alpha: expected a finite number, got inf"),
        (["--weight-decay", "-1"], "argument --weight-decay: expected at least 0, got -1"),
        (["--dataset", "imagenet"], "argument --dataset: invalid choice: 'imagenet'"),
        (["--alpha", "1e39"], "argument --alpha: expected at most 1e+18, got 1e39"),
        (["--beta=-1e39"], "argument --beta: expected at least -1e+18, got -1e39"),
        (["--lr", "1e300"], "argument --lr: expected at most 1e+18, got 1e300"),
        (["--weight-decay", "1e39"], "argument --weight-decay: expected at most 1e+18, got 1e39"),
        (["--threads", "3000000000"], "argument --threads: expected at most 1024, got 3000000000"),
        (["--seed", f"{2**64}"], f"argument --seed: expected at most {2**64 - 1}, got {2**64}"),
        (["--epochs", "-1" + 400 * "0"], "argument --epochs: expected at least 1, got -1000"),
        (["--device", "toaster"], "argument --device: expected cpu or cuda, got toaster"),
        (["--device", "meta"], "argument --device: expected cpu or cuda, got meta"),
        (["--device", "hpu"], "argument --device: expected cpu or cuda, got hpu"),
        (["--device", "cpu:x"], "argument --device: cpu:x: "),
        (["--depht", "20"], "unrecognized arguments: --depht 20"),
    ],
)
def test_bad_option(arguments: list[str], message: str, tmp_path: Path, capsys):
    status, errors = run_main(capsys, *QUICK, "--runs-dir", tmp_path / "runs", *arguments)
    assert status == 2
    assert errors.startswith(f"error: {message}")
    assert len(errors.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["a/b", "a/", "..", ".", ""])
def test_a_name_is_no_path(name: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    """--resume without a folder looks for runs right below --runs-dir."""
    status, errors = run_main(capsys, *QUICK, "--runs-dir", tmp_path / "runs", "--name", name)
    assert status == 2
    message = f"argument --name: expected a folder's name without a path, got {name!r}"
    assert errors.startswith(f"error: {message} (")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--depth", "21"], "depth must be 9n + 2, got 21"),
        (["--batch-size", "1501"], "the batch size must be at most the number of training images"),
        (["--data", "/there/is/nothing"], "/there/is/nothing: there is no such folder"),
        (["--data", "~nosuchuser/x"], "~nosuchuser/x: there is no such folder"),
        (["--resume", "/there/is/nothing"], "/there/is/nothing/checkpoint.pt: there is no"),
        (["--resume"], "there is no run to resume"),
    ],
)
def test_error_leaves_no_run(arguments, message, tmp_path, capsys):
    status, errors = run_main(
        capsys, "--dataset", "digits", "--runs-dir", tmp_path / "runs", *arguments
    )
    assert status == 1
    assert errors.startswith("error: ")
    assert message in errors
    assert len(errors.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_cuda_without_its_kernels_is_no_device(monkeypatch, capsys):
    monkeypatch.setattr(mpelu, "build_info", lambda: {"cuda": None})
    status, errors = run_main(capsys, "--device", "cuda:1")
    assert status == 2
    assert errors.startswith("error: argument --device: cuda:1: mpelu was built without CUDA")


@pytest.mark.parametrize("option", ["--alpha", "--beta", "--lr", "--weight-decay"])
def test_the_largest_numbers_lead_to_no_traceback(option: str, tmp_path: Path, capsys):
    largest = [option, "1e18", "--alpha", "1e18"]  # beta beside alpha: their product is used
    status, errors = run_main(capsys, *QUICK, "--runs-dir", tmp_path, *largest)
    assert status == 0 or "error: diverged: " in errors


def test_divergence_is_one_line_and_keeps_the_checkpoint(tmp_path: Path):
    arguments = [*RUN, "--lr", "1e18", "--runs-dir", tmp_path, "--name", "run"]
    result = subprocess.run(command(*arguments), capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    message = result.stderr.splitlines()[-1]
    assert "error: diverged: the training loss is " in message
    assert "try a smaller --lr than 1e+18" in message
    state = files.load_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert state["epoch"] == 0
    assert all(value.isfinite().all() for value in state["model"].values())


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a finished run."""
    folder = tmp_path_factory.mktemp("runs")
    assert train.main([*QUICK, "--runs-dir", str(folder), "--name", "run"]) == 0
    return folder / "run" / "checkpoint.pt"


@pytest.mark.parametrize("size", [0, 1000])
def test_damaged_checkpoint_is_named(size: int, checkpoint: Path, tmp_path: Path, capsys):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(checkpoint.read_bytes()[:size])
    status, errors = run_main(capsys, "--resume", tmp_path)
    assert status == 1
    assert errors.startswith(f"error: {path}: the checkpoint is damaged: ")
    assert len(errors.splitlines()) == 1


def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path, capsys):
    path = tmp_path / "checkpoint.pt"
    torch.save({"model": {}}, path)
    status, errors = run_main(capsys, "--resume", tmp_path)
    assert (status, errors.strip()) == (1, f"error: {path}: this is no checkpoint of a run")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda state: state.update(settings=3), "TypeError: "),
        (lambda state: state["settings"].update(width=2), "'width'"),
        (lambda state: state["settings"].update(depth=20), "Missing key"),
        (lambda state: state["settings"].update(depth=21), "depth must be 9n + 2, got 21"),
        (lambda state: state["settings"].update(data=7), "TypeError: "),
        (lambda state: state.pop("model"), "KeyError: 'model'"),
        (lambda state: state.pop("images"), "KeyError: 'images'"),
        (lambda state: state.pop("rng"), "KeyError: 'rng'"),
        (lambda state: state["model"].pop("classifier.bias"), "classifier.bias"),
        (lambda state: state["optimizer"]["param_groups"].pop(), "parameter group"),
        (lambda state: state["history"].clear(), "epoch 1, step 0, and a history of 0 epochs"),
        (lambda state: state.update(epoch=2), "epoch 2, step 0, and a history of 1 epochs"),
        (lambda state: state.update(step=2), "epoch 1, step 2, and a history of 1 epochs"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_named(
    change: Callable[[dict], Any], reason: str, checkpoint: Path, tmp_path: Path, capsys
):
    state = files.load_checkpoint(checkpoint)
    change(state)
    path = tmp_path / "checkpoint.pt"
    torch.save(state, path)
    status, errors = run_main(capsys, "--resume", tmp_path)
    assert status == 1
    assert errors.startswith(f"error: {path}: does not fit this program: ")
    assert reason in errors
    assert len(errors.splitlines()) == 1


def test_a_failed_write_keeps_the_old_file(tmp_path: Path):
    path = tmp_path / "log.csv"
    path.write_text("old")
    with (
        pytest.raises(files.UserError, match="cannot be written: No space left"),
        files.written_aside(path) as aside,
    ):
        aside.write_text("half")
        raise OSError(28, "No space left on device")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
