"""The trainer, in memory: going on from any step, and its settings."""

from __future__ import annotations

import functools
import random
from dataclasses import replace
from pathlib import Path

import data
import files
import numpy as np
import pytest
import torch
from settings import SCHEDULES, Settings
from train_runs import without_measured
from trainer import Trainer

import mpelu


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
    settings = Settings(depth=11, batch_size=8, max_steps_per_epoch=1)
    trainer = Trainer(settings, digits, torch.device("cpu"))
    files.save(trainer.state_dict(), tmp_path / "checkpoint.pt")
    expected = (random.random(), np.random.rand(), torch.rand(1).item())
    trainer.load_state_dict(files.load_checkpoint(tmp_path / "checkpoint.pt"))
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == expected


# Settings


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


def test_the_defaults_are_what_make_train_says():
    assert (Settings().depth, Settings().epochs) == (20, 2)
