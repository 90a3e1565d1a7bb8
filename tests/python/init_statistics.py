"""Statistics of freshly initialised weights, against the formula of the Taylor initialisation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

# Excess kurtosis, which the spread of a sample variance depends on.
KURTOSIS = {"normal": 0.0, "uniform": -1.2}


def expected_std(n: float, slope: float) -> float:
    return math.sqrt(2 / (n * (1 + slope**2)))


def assert_std(weight: torch.Tensor, expected: float, distribution: str = "normal") -> None:
    """Mean 0 and the expected deviation, within five standard errors of a sample this large."""
    values = weight.detach().double()
    count = values.numel()
    assert abs(values.mean().item()) < 5 * expected / math.sqrt(count)
    tolerance = 5 * math.sqrt((KURTOSIS[distribution] + 2) / (4 * count))
    assert values.square().mean().sqrt().item() == pytest.approx(expected, rel=tolerance)


def assert_slope(layer: nn.Module, slope: float) -> None:
    """The weight was filled for an activation with this alpha * beta, by its fan-in."""
    assert_std(layer.weight, expected_std(layer.weight[0].numel(), slope))
