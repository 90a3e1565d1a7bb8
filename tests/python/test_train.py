"""The training program: its files, its settings, and stopping and resuming it."""

from __future__ import annotations

import csv
import json
import os
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import data
import files
import pytest
import torch
import train
from train_runs import FILES, QUICK, RUN, STEPS, command, run_main, without_measured

import mpelu


def finish(*arguments: object) -> subprocess.CompletedProcess:
    result = subprocess.run(command(*arguments), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result


def read_log(folder: Path) -> list[dict[str, str]]:
    with open(folder / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


def assert_same_result(folder: Path, expected: Path) -> None:
    assert without_measured(read_log(folder)) == without_measured(read_log(expected))
    ours, theirs = (files.load_checkpoint(run / "checkpoint.pt") for run in (folder, expected))
    assert ours["trace"] == theirs["trace"]
    assert ours["model"].keys() == theirs["model"].keys()
    assert all(torch.equal(ours["model"][key], theirs["model"][key]) for key in ours["model"])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def whole(runs: Path) -> tuple[Path, subprocess.CompletedProcess]:
    """A run that is never interrupted, and what it printed."""
    return runs / "whole", finish(*RUN, "--runs-dir", runs, "--name", "whole")


# A whole run


def test_run_leaves_its_files_and_no_others(whole):
    assert sorted(path.name for path in whole[0].iterdir()) == FILES


def test_log_has_a_row_per_epoch(whole):
    rows = read_log(whole[0])
    assert [row["epoch"] for row in rows] == ["1", "2"]
    for row in rows:
        assert 0 < float(row["train_loss"]) < 10
        assert 0 < float(row["test_loss"]) < 100
        assert 0 <= float(row["train_error"]) <= 1
        assert 0 <= float(row["test_error"]) <= 1
    assert float(rows[1]["train_loss"]) < float(rows[0]["train_loss"])


def test_run_learns(whole):
    assert float(read_log(whole[0])[-1]["test_error"]) < 0.5


def test_summary(whole):
    summary = json.loads((whole[0] / "summary.json").read_text())
    assert summary["test_error"] == float(read_log(whole[0])[-1]["test_error"])
    assert summary["finished"] is True
    assert summary["epochs"] == 2
    assert summary["data"].startswith("digits from scikit-learn")
    assert summary["settings"]["depth"] == 11
    assert summary["settings"]["batch_size"] == 16
    assert summary["parameters"] == 127_066
    assert summary["versions"]["torch"] == torch.__version__


@pytest.mark.parametrize("name", ["curves.png", "activations.png"])
def test_pictures_show_something(name: str, whole):
    from matplotlib.image import imread

    pixels = imread(whole[0] / name)
    assert min(pixels.shape[:2]) > 400
    assert pixels.std() > 0.05


def test_output_says_what_was_taken_and_what_came_out(whole):
    lines = whole[1].stdout.splitlines()
    assert lines[0].startswith("data: digits from scikit-learn")
    assert lines[1] == f"run: {whole[0]}"
    for number, line in enumerate(lines[2:4], 1):
        assert line.startswith(f"epoch {number}/2: training loss ")
        assert "; test loss " in line
        assert line.count(" error ") == 2
    assert lines[4].startswith("test error ")
    assert len(lines) == 5


def test_progress_bar_shows_speed_and_time_left(whole):
    assert "epoch 1/2" in whole[1].stderr
    assert "images/s" in whole[1].stderr
    assert " left" in whole[1].stderr
    assert "Traceback" not in whole[1].stderr


def test_recomputing_activations_gives_the_same_numbers(whole, runs: Path):
    folder = runs / "recompute"
    finish(*RUN, "--runs-dir", runs, "--name", folder.name, "--recompute")
    assert_same_result(folder, whole[0])


# Stopping and resuming


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_resumed_run_equals_the_uninterrupted_one(number: signal.Signals, whole, runs: Path):
    folder = runs / number.name
    process = subprocess.Popen(
        command(*RUN, "--runs-dir", runs, "--name", number.name),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not process.stdout.readline().startswith("epoch 1/2"):
        assert process.poll() is None
    os.kill(process.pid, number)
    output, errors = process.communicate()

    state = files.load_checkpoint(folder / "checkpoint.pt")
    assert without_measured(read_log(folder)) == without_measured(read_log(whole[0])[:1])
    assert state["epoch"] == 1
    if number == signal.SIGKILL:
        assert state["step"] == 0
    else:
        assert 0 < state["step"] < STEPS
        assert process.returncode == 128 + number
        resume = command("--resume", folder, "--threads", 1)
        assert output == f"stopped; go on with: {shlex.join(resume)}\n"
        assert "Traceback" not in errors

    result = finish("--resume", folder, "--threads", "1")
    assert f"run: {folder}, from epoch 2, step {state['step'] + 1}\n" in result.stdout
    assert_same_result(folder, whole[0])
    assert sorted(path.name for path in folder.iterdir()) == FILES


def test_resuming_keeps_the_options_that_are_in_no_checkpoint():
    options = ["--device", "cpu", "--threads", "2", "--recompute"]
    _, args = train.parse(options)
    _, no_args = train.parse([])
    resume = [sys.executable, sys.argv[0], "--resume", "a run"]
    assert shlex.split(train._resume_command(Path("a run"), args)) == [*resume, *options]
    assert shlex.split(train._resume_command(Path("a run"), no_args)) == resume


@pytest.mark.parametrize("how", ["folder", "name", "latest"])
def test_resuming_a_finished_run_repeats_its_result(how: str, whole, runs: Path, capsys):
    before = files.load_checkpoint(whole[0] / "checkpoint.pt")
    os.utime(whole[0] / "checkpoint.pt")
    arguments = {
        "folder": ["--resume", whole[0]],
        "name": ["--resume", "--runs-dir", runs, "--name", "whole"],
        "latest": ["--resume", "--runs-dir", runs],
    }[how]
    assert train.main(list(map(str, arguments))) == 0
    error = before["history"][-1]["test_error"]
    output = capsys.readouterr().out
    assert f"run: {whole[0]}, complete\n" in output
    assert f"test error {error:.2%}; results in {whole[0]}\n" in output


def test_resuming_a_finished_run_writes_what_a_crash_left_out(tmp_path: Path):
    folder = tmp_path / "run"
    assert train.main([*QUICK, "--runs-dir", str(tmp_path), "--name", "run"]) == 0
    summary = folder / "summary.json"
    summary.write_text("of another machine")
    assert train.main(["--resume", str(folder)]) == 0
    assert summary.read_text() == "of another machine"

    for path in folder.glob("*[!t]"):  # all but checkpoint.pt
        path.unlink()
    assert train.main(["--resume", str(folder)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert json.loads(summary.read_text())["finished"] is True


def test_resuming_with_other_settings_names_them(whole, capsys: pytest.CaptureFixture):
    status, errors = run_main(
        capsys, "--resume", whole[0], "--lr", "0.5", "--seed", "0", "--batch-size", "32"
    )
    assert status == 1
    assert errors == (
        f"error: {whole[0]} cannot be resumed with --lr 0.5 (it was 0.1), "
        f"--batch-size 32 (it was 16)\n"
    )


def test_resuming_on_other_data_is_an_error(whole, capsys, monkeypatch):
    digits = data.load("digits")
    fewer = replace(digits, train_images=digits.train_images[1:])
    monkeypatch.setattr(train, "load", lambda dataset, folder: fewer)
    status, errors = run_main(capsys, "--resume", whole[0])
    assert status == 1
    assert "was trained on other data" in errors


def test_resuming_takes_data_from_where_it_is_now(tmp_path: Path, monkeypatch):
    folders = []

    def load(dataset: str, folder: Path) -> data.Images:
        folders.append(folder)
        return data.load("digits")

    monkeypatch.setattr(train, "load", load)
    before, now = tmp_path / "before", tmp_path / "now"
    options = ["--runs-dir", str(tmp_path), "--name", "run"]
    assert train.main([*QUICK, *options, "--data", str(before)]) == 0
    run = train.resume_run(*train.parse(["--resume", str(tmp_path / "run"), "--data", str(now)]))
    assert folders == [before, now]
    assert run.trainer.settings.data == str(now)


def test_a_run_is_never_overwritten(whole, runs: Path, tmp_path: Path, capsys):
    before = (whole[0] / "checkpoint.pt").read_bytes()
    status, errors = run_main(capsys, *RUN[:4], "--runs-dir", runs, "--name", "whole")
    assert status == 1
    assert errors == (
        f"error: {whole[0]} exists; --resume goes on with it, or choose another --name\n"
    )
    assert (whole[0] / "checkpoint.pt").read_bytes() == before


def test_runs_without_a_name_get_new_ones(tmp_path: Path):
    for _ in range(2):
        assert train.main([*QUICK, "--activation", "elu", "--runs-dir", str(tmp_path)]) == 0
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["digits-elu-11", "digits-elu-11-2"]


# Settings


@pytest.mark.parametrize("activation", ["spelu", "elu", "prelu", "relu"])
def test_other_activations(activation: str, tmp_path: Path):
    options = ["--activation", activation, "--runs-dir", str(tmp_path), "--name", "run"]
    assert train.main([*QUICK, *options]) == 0
    drawn = (tmp_path / "run" / "activations.png").exists()
    assert drawn == (activation == "spelu")  # the others have no alpha and beta to learn


def test_amp_trains(tmp_path: Path):
    assert train.main([*QUICK, "--amp", "--runs-dir", str(tmp_path), "--name", "amp"]) == 0
    assert json.loads((tmp_path / "amp" / "summary.json").read_text())["settings"]["amp"] is True


@pytest.mark.parametrize("built", [None, "13.0"])
def test_the_default_device_is_one_that_mpelu_was_built_for(built: str | None, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(mpelu, "build_info", lambda: {"cuda": built})
    assert train._default_device().type == ("cuda" if built else "cpu")
