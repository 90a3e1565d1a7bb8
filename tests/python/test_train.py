"""The training program: its files, stopping and resuming it, and its errors."""

from __future__ import annotations

import csv
import functools
import json
import os
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parents[2] / "examples" / "python"
sys.path.insert(0, str(EXAMPLES))

import data  # noqa: E402
import files  # noqa: E402
import train  # noqa: E402
from settings import SCHEDULES, Settings  # noqa: E402
from trainer import Trainer  # noqa: E402

import mpelu  # noqa: E402

# Enough steps in an epoch for a signal to arrive between them.
STEPS = 60
RUN = ["--dataset", "digits", "--depth", "11", "--epochs", "2", "--threads", "1"]
RUN += ["--max-steps-per-epoch", str(STEPS)]
FILES = ["activations.png", "checkpoint.pt", "curves.png", "log.csv", "summary.json"]
MEASURED = ("seconds", "images_per_second")  # differ from run to run


def command(*arguments: object) -> list[str]:
    return [sys.executable, str(EXAMPLES / "train.py"), *map(str, arguments)]


def finish(*arguments: object) -> subprocess.CompletedProcess:
    result = subprocess.run(command(*arguments), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result


def read_log(folder: Path) -> list[dict[str, str]]:
    with open(folder / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


def without_measured(rows: list[dict]) -> list[dict]:
    return [{key: row[key] for key in row if key not in MEASURED} for row in rows]


def assert_same_result(folder: Path, expected: Path) -> None:
    assert without_measured(read_log(folder)) == without_measured(read_log(expected))
    ours, theirs = (files.load_checkpoint(run / "checkpoint.pt") for run in (folder, expected))
    assert ours["trace"] == theirs["trace"]
    assert ours["model"].keys() == theirs["model"].keys()
    assert all(torch.equal(ours["model"][key], theirs["model"][key]) for key in ours["model"])


def run_main(capsys: pytest.CaptureFixture, *arguments: object) -> tuple[int, str]:
    """Runs train.py's main here; returns the exit status and what it wrote to stderr."""
    try:
        status = train.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        status = stop.code
    return status, capsys.readouterr().err


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
        assert output == f"stopped; go on with: {shlex.join(command('--resume', folder))}\n"
        assert "Traceback" not in errors

    result = finish("--resume", folder, "--threads", "1")
    assert f"run: {folder}, from epoch 2, step {state['step'] + 1}\n" in result.stdout
    assert_same_result(folder, whole[0])
    assert sorted(path.name for path in folder.iterdir()) == FILES


def take(trainer: Trainer, steps: int) -> None:
    """Takes some steps, training or test, over the ends of epochs."""
    while not trainer.finished:
        for part in (trainer.train_epoch(), trainer.test_epoch()):
            for _ in part:
                steps -= 1
                if steps == 0:
                    return


@pytest.fixture(scope="module")
def digits() -> data.Images:
    return data.load("digits")


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 3, 4, 5, 6, 9])
def test_trainer_goes_on_from_any_step(steps: int, schedule: str, digits, tmp_path: Path):
    """An epoch is four steps here and one test batch: also from its ends and the test."""
    images = replace(
        digits, test_images=digits.test_images[:20], test_labels=digits.test_labels[:20]
    )
    settings = Settings(depth=11, batch_size=8, max_steps_per_epoch=4, schedule=schedule, lr=0.01)
    cpu = torch.device("cpu")
    straight = Trainer(settings, images, cpu)
    take(straight, 1000)

    first = Trainer(settings, images, cpu)
    take(first, steps)
    files.save(first.state_dict(), tmp_path / "checkpoint.pt")
    torch.randn(7)  # another program's numbers in between
    second = Trainer(settings, images, cpu)
    second.load_state_dict(files.load_checkpoint(tmp_path / "checkpoint.pt"))
    take(second, 1000)

    assert second.finished
    assert without_measured(second.history) == without_measured(straight.history)
    assert second.trace == straight.trace
    expected = straight.model.state_dict()
    assert all(
        torch.equal(value, expected[key]) for key, value in second.model.state_dict().items()
    )


def test_trainer_goes_on_from_a_checkpoint_of_the_unfused_network(digits, tmp_path, monkeypatch):
    """Earlier versions trained that network. The numbers go on too, but for rounding."""
    settings = Settings(depth=11, batch_size=8, max_steps_per_epoch=6, lr=0.01)
    unfused = functools.partial(mpelu.models.mpelu_resnet, fused=False)
    with monkeypatch.context() as patch:
        patch.setattr(mpelu.models, "mpelu_resnet", unfused)
        first = Trainer(settings, digits, torch.device("cpu"))
    take(first, 3)
    files.save(first.state_dict(), tmp_path / "checkpoint.pt")
    state = files.load_checkpoint(tmp_path / "checkpoint.pt")
    assert "stem.2.alpha" in state["model"]

    second = Trainer(settings, digits, torch.device("cpu"))
    assert "stem.1.alpha" in second.model.state_dict()
    second.load_state_dict(state)
    take(first, 3)
    take(second, 3)
    torch.testing.assert_close(second.metrics, first.metrics, rtol=1e-3, atol=0)
    for ours, theirs in zip(second.model.parameters(), first.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-4)


def test_resuming_restores_the_global_generators(digits, tmp_path: Path):
    import random

    import numpy as np

    settings = Settings(depth=11, batch_size=8, max_steps_per_epoch=1)
    trainer = Trainer(settings, digits, torch.device("cpu"))
    files.save(trainer.state_dict(), tmp_path / "checkpoint.pt")
    expected = (random.random(), np.random.rand(), torch.rand(1).item())
    trainer.load_state_dict(files.load_checkpoint(tmp_path / "checkpoint.pt"))
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == expected


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


def test_a_run_is_never_overwritten(whole, runs: Path, tmp_path: Path, capsys):
    before = (whole[0] / "checkpoint.pt").read_bytes()
    status, errors = run_main(capsys, *RUN[:4], "--runs-dir", runs, "--name", "whole")
    assert status == 1
    assert errors == (
        f"error: {whole[0]} exists; --resume goes on with it, or choose another --name\n"
    )
    assert (whole[0] / "checkpoint.pt").read_bytes() == before


def test_runs_without_a_name_get_new_ones(tmp_path: Path):
    quick = ["--dataset", "digits", "--depth", "11", "--epochs", "1", "--max-steps-per-epoch", "1"]
    for _ in range(2):
        assert train.main([*quick, "--activation", "elu", "--runs-dir", str(tmp_path)]) == 0
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["digits-elu-11", "digits-elu-11-2"]


# Settings


@pytest.mark.parametrize("activation", ["spelu", "elu", "prelu", "relu"])
def test_other_activations(activation: str, tmp_path: Path):
    options = ["--dataset", "digits", "--depth", "11", "--epochs", "1", "--runs-dir", str(tmp_path)]
    options += ["--activation", activation, "--max-steps-per-epoch", "2", "--name", "run"]
    assert train.main(options) == 0
    drawn = (tmp_path / "run" / "activations.png").exists()
    assert drawn == (activation == "spelu")  # the others have no alpha and beta to learn


def test_one_cycle_rises_then_falls_to_zero():
    factors = [SCHEDULES["onecycle"](step / 100) for step in range(101)]
    assert 0 < factors[0] < 0.1
    assert factors[20] == 1.0
    assert factors[:21] == sorted(factors[:21])
    assert factors[20:] == sorted(factors[20:], reverse=True)
    assert factors[100] == pytest.approx(0, abs=1e-12)


def test_step_schedule_divides_by_ten_twice():
    factors = [SCHEDULES["step"](step / 100) for step in range(101)]
    assert factors == [1.0] * 50 + [0.1] * 25 + [0.01] * 26


def test_activation_parameters_learn_faster(digits: data.Images):
    trainer = Trainer(Settings(depth=11, batch_size=8, lr=0.1), digits, torch.device("cpu"))
    rest, activations = trainer.optimizer.param_groups
    assert activations["lr"] == pytest.approx(5 * rest["lr"])
    assert activations["weight_decay"] == pytest.approx(10 * rest["weight_decay"])


def test_amp_trains(tmp_path: Path):
    options = [
        "--dataset",
        "digits",
        "--depth",
        "11",
        "--epochs",
        "1",
        "--max-steps-per-epoch",
        "2",
    ]
    assert train.main([*options, "--amp", "--runs-dir", str(tmp_path), "--name", "amp"]) == 0
    assert json.loads((tmp_path / "amp" / "summary.json").read_text())["settings"]["amp"] is True


# Errors, each one line


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
        (["--device", "toaster"], "argument --device: toaster: "),
        (["--depht", "20"], "unrecognized arguments: --depht 20"),
    ],
)
def test_bad_option(arguments: list[str], message: str, capsys: pytest.CaptureFixture):
    status, errors = run_main(capsys, *arguments)
    assert status == 2
    assert errors.startswith(f"error: {message}")
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--depth", "21"], "depth must be 9n + 2, got 21"),
        (["--batch-size", "1501"], "the batch size must be at most the number of training images"),
        (["--data", "/there/is/nothing"], "/there/is/nothing: there is no such folder"),
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


def test_divergence_is_one_line_and_keeps_the_checkpoint(tmp_path: Path):
    arguments = [*RUN, "--lr", "1e30", "--runs-dir", tmp_path, "--name", "run"]
    result = subprocess.run(command(*arguments), capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    message = result.stderr.splitlines()[-1]
    assert "error: diverged: the training loss is " in message
    assert "try a smaller --lr than 1e+30" in message
    state = files.load_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert state["epoch"] == 0
    assert all(value.isfinite().all() for value in state["model"].values())


@pytest.mark.parametrize("size", [0, 1000])
def test_damaged_checkpoint_is_named(size: int, whole, tmp_path: Path, capsys):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes((whole[0] / "checkpoint.pt").read_bytes()[:size])
    status, errors = run_main(capsys, "--resume", tmp_path)
    assert status == 1
    assert errors.startswith(f"error: {path}: the checkpoint is damaged: ")
    assert len(errors.splitlines()) == 1


def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path, capsys):
    path = tmp_path / "checkpoint.pt"
    torch.save({"model": {}}, path)
    status, errors = run_main(capsys, "--resume", tmp_path)
    assert (status, errors.strip()) == (1, f"error: {path}: this is no checkpoint of a run")


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
