"""examples/cpp/train.cpp learns from the images that examples/python/data.py exports."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from programs import EXAMPLES, find_program


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("digits") / "digits.pt"
    script = EXAMPLES / "data.py"
    subprocess.run([sys.executable, script, "--dataset", "digits", "--export", path], check=True)
    return path


def train(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(argument) for argument in (find_program("mpelu_train"), *arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def epochs(output: str) -> list[tuple[float, float, float, float]]:
    """Training loss and accuracy, test loss and accuracy of each epoch."""
    number = r"([\d.]+)"
    pattern = rf"training loss {number}, accuracy {number}%; test loss {number}, accuracy {number}%"
    return [tuple(map(float, found)) for found in re.findall(pattern, output)]


def test_two_epochs_learn_the_digits(digits: Path) -> None:
    done = train(digits, "--epochs", 2)
    assert done.returncode == 0, done.stderr
    first, second = epochs(done.stdout)
    assert second[0] < first[0]
    assert second[3] > 80


def test_max_steps_ends_the_training_and_a_seed_repeats_it(digits: Path) -> None:
    runs = [train(digits, "--max-steps", 3, "--seed", seed) for seed in (1, 1, 2)]
    assert [run.returncode for run in runs] == [0, 0, 0], runs
    assert len(epochs(runs[0].stdout)) == 1
    assert runs[0].stdout == runs[1].stdout
    assert runs[0].stdout != runs[2].stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.pop("test_labels"), "it has no test_labels"),
        (lambda data: data.update(train_labels=torch.zeros(3, dtype=torch.int64)), "labels must"),
        (lambda data: data.update(train_images=torch.zeros(3, 1, 8, 8)), "images must be uint8"),
    ],
    ids=["key", "length", "dtype"],
)
def test_unusable_images_are_named(digits: Path, tmp_path: Path, change, message: str) -> None:
    data = torch.load(digits)
    change(data)
    path = tmp_path / "changed.pt"
    torch.save(data, path)
    assert_refused(train(path), str(path), message)


@pytest.mark.parametrize("kept", [0, 0.5, 0.99])
def test_a_truncated_file_is_named(digits: Path, tmp_path: Path, kept: float) -> None:
    content = digits.read_bytes()
    path = tmp_path / "truncated.pt"
    path.write_bytes(content[: int(kept * len(content))])
    assert_refused(train(path), f"cannot use '{path}'")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "usage:"),
        (["missing.pt"], "cannot open 'missing.pt'"),
        (["/"], "cannot read '/'"),
        (["images.pt", "--epochs"], "--epochs takes a number"),
        (["images.pt", "--seed", "x"], "--seed takes a number >= 0, got 'x'"),
        (["images.pt", "--speed", "1"], "unknown option --speed"),
    ],
)
def test_wrong_arguments_are_named(arguments: list[str], message: str) -> None:
    assert_refused(train(*arguments), message)


def assert_refused(done: subprocess.CompletedProcess[str], *messages: str) -> None:
    """One line that says why, and a status that is not 0."""
    assert done.returncode == 1, done
    assert done.stderr.count("\n") == 1, done.stderr
    for message in messages:
        assert message in done.stderr
