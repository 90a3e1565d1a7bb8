"""Checks of the arguments that Python code takes; each error names the argument and its value."""

import math
import operator
from numbers import Real
from typing import SupportsIndex


def finite(name: str, value: float) -> float:
    """``value`` as a float; it must be a finite real number."""
    if not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}")
    return float(value)


def non_negative(name: str, value: float) -> float:
    """``value`` as a float; it must be finite and at least 0."""
    number = finite(name, value)
    if number < 0:
        raise ValueError(f"{name} must be >= 0, got {value}")
    return number


def integer(name: str, value: SupportsIndex) -> int:
    """``value`` as an int; it must be an integer, and not a bool."""
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    return operator.index(value)


def positive_integer(name: str, value: SupportsIndex) -> int:
    """``value`` as an int; it must be an integer and at least 1."""
    number = integer(name, value)
    if number < 1:
        raise ValueError(f"{name} must be >= 1, got {value}")
    return number
