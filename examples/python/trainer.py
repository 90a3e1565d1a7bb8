"""One training run in memory: what changes while it trains, how, and as what it is saved."""

import math
import random
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from batches import Batches
from data import Images
from files import UserError
from settings import Settings
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LambdaLR

import mpelu
from mpelu.autograd import recompute_activations

LAYOUT = torch.channels_last  # the convolutions take a third less time in it on the CPU
TRACE_POINTS = 25  # points per epoch of the training loss's curve


class Trainer:
    """Trains an MPELU residual network in steps, between any two of which it can be saved.

    Attributes:
        epoch: how many epochs are complete.
        step: how many training steps of the present epoch are.
        history: a row of log.csv per complete epoch.
        trace: ``(epochs, training loss, training error)``, ``TRACE_POINTS`` times per epoch.

    Args:
        settings: with a ``batch_size``.
        images: the data set.
        device: where to train.
        recompute: compute the activations' outputs again in the backward instead of keeping them.
    """

    def __init__(
        self, settings: Settings, images: Images, device: torch.device, recompute: bool = False
    ) -> None:
        random.seed(settings.seed)
        np.random.seed(settings.seed % 2**32)
        torch.manual_seed(settings.seed)
        self.settings, self.device, self.recompute = settings, device, recompute
        self.batches = Batches(images, settings.batch_size, settings.seed, device)
        self.steps = min(self.batches.steps, settings.max_steps_per_epoch or self.batches.steps)
        self.model = mpelu.models.mpelu_resnet(
            settings.depth,
            images.classes,
            in_channels=images.train_images.size(1),
            activation=settings.activation,
            alpha=settings.alpha,
            beta=settings.beta,
        ).to(device, memory_format=LAYOUT)
        groups = mpelu.optim.param_groups(self.model, settings.lr, settings.weight_decay)
        self.optimizer = torch.optim.SGD(groups, lr=settings.lr, momentum=0.9, nesterov=True)
        total = settings.epochs * self.steps
        self.schedule = LambdaLR(self.optimizer, lambda step: settings.factor(step, total))
        self.epoch = self.step = 0
        self.seconds = 0.0  # that the present epoch's training steps took
        # Loss and wrong answers of each of them: [steps, 2]
        self.metrics = torch.zeros(self.steps, 2, dtype=torch.float64, device=device)
        self.history: list[dict[str, float]] = []
        self.trace: list[tuple[float, float, float]] = []

    @property
    def finished(self) -> bool:
        return self.epoch == self.settings.epochs

    def train_epoch(self) -> Iterator[None]:
        """Takes the present epoch's remaining steps, one per iteration."""
        self.model.train()
        started = time.perf_counter() - self.seconds
        for inputs, labels in self.batches.train(self.epoch, self.step, self.steps):
            self._train_step(inputs, labels)
            self.seconds = time.perf_counter() - started
            yield

    def _train_step(self, inputs: Tensor, labels: Tensor) -> None:
        self.optimizer.zero_grad()
        with recompute_activations() if self.recompute else nullcontext():
            logits = self._forward(inputs)
            loss = cross_entropy(logits, labels)
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        self.metrics[self.step, 0] = loss.detach()
        self.metrics[self.step, 1] = _wrong(logits, labels)
        self.step += 1

    def _forward(self, inputs: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.amp):
            return self.model(inputs.contiguous(memory_format=LAYOUT)).float()

    def train_metrics(self) -> tuple[float, float]:
        """Mean loss and error of the present epoch's steps so far; waits for the device.

        Raises:
            UserError: the training diverged.
        """
        loss, wrong = self.metrics[: self.step].mean(0).tolist()
        self._check_finite("training", loss)
        return loss, wrong / self.settings.batch_size

    @torch.no_grad()
    def test_epoch(self) -> Iterator[None]:
        """Measures test loss and error, a batch per iteration, and ends the epoch with them."""
        self.model.eval()
        totals = torch.zeros(2, dtype=torch.float64, device=self.device)
        for inputs, labels in self.batches.test():
            logits = self._forward(inputs)
            totals[0] += cross_entropy(logits, labels, reduction="sum")
            totals[1] += _wrong(logits, labels)
            yield
        loss, error = (totals / len(self.batches.test_labels)).tolist()
        self._check_finite("test", loss)
        self._end_epoch(loss, error)

    def _end_epoch(self, test_loss: float, test_error: float) -> None:
        train_loss, train_error = self.train_metrics()
        size = self.settings.batch_size
        parts = self.metrics.tensor_split(min(TRACE_POINTS, self.steps))
        for number, part in enumerate(parts, 1):
            loss, wrong = part.mean(0).tolist()
            self.trace.append((self.epoch + number / len(parts), loss, wrong / size))
        self.epoch += 1
        self.history.append(
            {
                "epoch": self.epoch,
                "train_loss": train_loss,
                "train_error": train_error,
                "test_loss": test_loss,
                "test_error": test_error,
                "next_lr": self.schedule.get_last_lr()[0],
                "seconds": round(self.seconds, 3),
                "images_per_second": round(self.steps * size / self.seconds, 1),
            }
        )
        self.step, self.seconds = 0, 0.0

    def _check_finite(self, what: str, loss: float) -> None:
        if not math.isfinite(loss):
            raise UserError(
                f"diverged: the {what} loss is {loss} at step {self.step} of epoch "
                f"{self.epoch + 1}; try a smaller --lr than {self.settings.lr:g}"
            )

    def state_dict(self) -> dict[str, Any]:
        """All that :meth:`load_state_dict` needs to go on with the next step."""
        return {
            "settings": asdict(self.settings),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "rng": _rng_state(),
            "epoch": self.epoch,
            "step": self.step,
            "seconds": self.seconds,
            "metrics": self.metrics,
            "history": self.history,
            "trace": self.trace,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what a trainer with the same settings and images saved.

        Raises:
            ValueError: its parts do not go together. What does not suit the model or the optimizer
                raises what these do.
        """
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.metrics.copy_(state["metrics"])
        self.epoch, self.step, self.seconds = state["epoch"], state["step"], state["seconds"]
        self.history, self.trace = list(state["history"]), list(state["trace"])
        is_place = 0 <= self.epoch <= self.settings.epochs and 0 <= self.step <= self.steps
        if not is_place or len(self.history) != self.epoch:
            raise ValueError(
                f"epoch {self.epoch}, step {self.step}, and a history of {len(self.history)} epochs"
            )
        _set_rng_state(state["rng"])


def _wrong(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(1) != labels).sum()


def _rng_state() -> dict[str, Any]:
    """Every global generator's state, in types that ``torch.load(weights_only=True)`` reads."""
    algorithm, keys, *position = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (algorithm, keys.tolist(), *position),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _set_rng_state(state: dict[str, Any]) -> None:
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
