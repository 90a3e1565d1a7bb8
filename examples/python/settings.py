"""The settings that decide a run's numbers, each an option of train.py."""

import argparse
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from data import DATA_HELP, DATASETS

#: float32 still holds the product of two of them, and ten times as much.
LARGEST = 1e18


def _schedule_one_cycle(done: float) -> float:
    """Up in a straight line over the first fifth of the run, then down to 0 along a cosine."""
    warm_up = 0.2
    if done < warm_up:
        return 0.05 + 0.95 * done / warm_up
    return 0.5 * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up)))


def _schedule_step(done: float) -> float:
    """A tenth after half of the run, and a tenth of that after three quarters."""
    return 1.0 if done < 0.5 else 0.1 if done < 0.75 else 0.01


#: From the part of the run that is done, 0 to 1, to a factor on the learning rates.
SCHEDULES: dict[str, Callable[[float], float]] = {
    "onecycle": _schedule_one_cycle,
    "step": _schedule_step,
}


def number(
    kind: type, minimum: float = -math.inf, maximum: float = math.inf
) -> Callable[[str], Any]:
    """A parser for finite numbers of a kind, from ``minimum`` to ``maximum``."""

    def parse(text: str) -> Any:
        value = kind(text)
        if not -math.inf < value < math.inf:  # math.isfinite() does not take every int
            raise argparse.ArgumentTypeError(f"expected a finite number, got {text}")
        if value < minimum:
            raise argparse.ArgumentTypeError(f"expected at least {minimum}, got {text}")
        if value > maximum:
            raise argparse.ArgumentTypeError(f"expected at most {maximum}, got {text}")
        return value

    parse.__name__ = kind.__name__  # argparse says "invalid int value"
    return parse


def _folder(text: str) -> str:
    return os.path.realpath(os.path.expanduser(text))


def _option(default: Any, help: str, **argument: Any) -> Any:
    return field(default=default, metadata={"help": help, **argument})


@dataclass(frozen=True)
class Settings:
    """What decides a run's numbers; ``--resume`` keeps all of it but the folder ``data``."""

    dataset: str = _option("auto", "the images", choices=DATASETS)
    data: str | None = _option(None, DATA_HELP, type=_folder, metavar="FOLDER")
    depth: int = _option(20, "layers of the network, 9n + 2", type=number(int))
    activation: str = _option(
        "mpelu", "what follows batch norm", choices=("mpelu", "spelu", "elu", "prelu", "relu")
    )
    alpha: float = _option(0.25, "what alpha starts from", type=number(float, -LARGEST, LARGEST))
    beta: float = _option(1.0, "what beta starts from", type=number(float, -LARGEST, LARGEST))
    epochs: int = _option(2, "passes over the training images", type=number(int, 1))
    batch_size: int | None = _option(
        None, "images in a step; 64, or 16 of the digits", type=number(int, 1)
    )
    lr: float = _option(
        0.1, "peak learning rate; five times it for alpha, beta", type=number(float, 0, LARGEST)
    )
    # The usual 1e-4 would draw alpha and beta to 0 here, as their rate and decay are that high.
    weight_decay: float = _option(
        1e-5, "L2 penalty; ten times it for alpha, beta", type=number(float, 0, LARGEST)
    )
    schedule: str = _option(
        "onecycle", "of the learning rate; step is for long runs", choices=tuple(SCHEDULES)
    )
    seed: int = _option(
        0, "of the first weights, order and augmentation", type=number(int, 0, 2**64 - 1)
    )
    max_steps_per_epoch: int | None = _option(
        None, "end each epoch early, to try things out", type=number(int, 1), metavar="STEPS"
    )
    amp: bool = _option(False, "bfloat16 where autocast uses it", action="store_true")

    def factor(self, step: int, total: int) -> float:
        """The factor on the learning rates in a step of a run of ``total`` steps."""
        return SCHEDULES[self.schedule](step / total)
