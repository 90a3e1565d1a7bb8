"""Measures the error of the forward in units of the last place, beside that of torch's own elu.

    python benchmarks/accuracy.py     # fails if one of ours is further off than MOST_ULPS

The reference is the formula in long double, of the exact product beta * x. The inputs of the wider
types are spread over every exponent, over the range where the result is neither -alpha nor infinite
and, once more, over what is near 0; half types take all of their 65,536 values. For the wider types
a search looks for the worst: for parameters that put results just below a power of two, where an
error is the most units.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from machine import write_results
from torch import Tensor

import mpelu.functional as MF

#: Numbers of x in each spread of the wider dtypes.
COUNT = 1 << 21
PARAMETERS = ((1.0, 1.0), (0.25, 1.0), (1.7, 0.83), (0.25, -1.0), (1.3, -0.7), (1.9, -1.1))
#: How far off ours may be, in units of the last place.
MOST_ULPS = {"float32": 2.0, "float64": 2.0, "bfloat16": 1.0, "float16": 1.0}
#: Pairs of parameters that the search tries for each sign of beta, and numbers of x for each.
PAIRS = 2000
NUMBERS = 1 << 13


@dataclass(frozen=True)
class Row:
    operator: str
    dtype: str
    alpha: float
    beta: float
    largest_ulp: float
    mean_ulp: float
    worst_x: float
    #: Of results below the normal numbers, in units of the smallest number.
    largest_subnormal_ulp: float


def inputs(dtype: torch.dtype) -> Tensor:
    """x <= 0; what is above is copied."""
    if dtype in (torch.bfloat16, torch.float16):
        bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
        x = bits.view(dtype)
        return x[(x <= 0) & x.isfinite()]
    info = torch.finfo(dtype)
    integer = torch.int32 if dtype == torch.float32 else torch.int64
    largest = torch.tensor(info.max, dtype=dtype).view(integer).item()
    exponents = torch.linspace(0, largest, COUNT, dtype=torch.float64).to(integer).view(dtype)
    even = torch.linspace(0, 1.02 * float(np.log(info.max)), COUNT, dtype=dtype)
    near = torch.linspace(0, 2, COUNT, dtype=dtype)
    return -torch.cat([exponents, even, near])


def exact(x: Tensor, alpha: float, beta: float) -> np.ndarray:
    wide = x.to(torch.float64).numpy().astype(np.longdouble)
    with np.errstate(over="ignore"):
        return np.longdouble(alpha) * np.expm1(np.longdouble(beta) * wide)


def ulp(value: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    """The distance of dtype's numbers around value."""
    info = torch.finfo(dtype)
    exponent = np.frexp(np.maximum(np.abs(value), info.tiny))[1]
    return np.ldexp(np.longdouble(info.eps), exponent - 1)


def measure(operator: str, y: Tensor, x: Tensor, alpha: float, beta: float) -> Row:
    expected = exact(x, alpha, beta)
    actual = y.to(torch.float64).numpy().astype(np.longdouble)
    # What is beyond the largest number is to be that or infinite.
    limit = np.longdouble(torch.finfo(x.dtype).max)
    overflows = np.abs(expected) > limit
    errors = np.abs(actual - np.where(overflows, 0, expected))
    errors = errors / ulp(np.where(overflows, 1, expected), x.dtype)
    is_right = actual * np.sign(expected) >= limit
    errors = np.where(overflows, np.where(is_right, 0, np.inf), errors)
    is_normal = np.abs(expected) >= torch.finfo(x.dtype).tiny
    normal = np.where(is_normal, errors, 0)
    worst = int(np.argmax(normal))
    return Row(
        operator,
        str(x.dtype).removeprefix("torch."),
        alpha,
        beta,
        float(normal[worst]),
        float(errors[np.isfinite(errors)].mean()),
        float(x[worst]),
        float(np.where(is_normal, 0, errors).max()),
    )


def rounded(number: float, dtype: torch.dtype) -> tuple[float, Tensor]:
    """number as a parameter of dtype, and exactly what that is."""
    parameter = torch.tensor(number, dtype=dtype)
    return parameter.item(), parameter


def hardest(dtype: torch.dtype, sign: int) -> Row:
    """The worst that the search finds, where sign * beta > 0."""
    random = np.random.default_rng(0)
    worst = None
    for _ in range(PAIRS):
        z = random.uniform(-4, 0) if sign > 0 else random.uniform(0, 9)
        fraction, _ = np.frexp(abs(np.expm1(z)))
        alpha, alpha_tensor = rounded(random.uniform(0.99, 1) / fraction, dtype)
        beta, beta_tensor = rounded(sign * random.uniform(0.25, 4), dtype)
        x = torch.from_numpy(z / beta * random.uniform(0.998, 1.002, NUMBERS)).to(dtype)
        row = measure("mpelu.mpelu", MF.mpelu(x, alpha_tensor, beta_tensor), x, alpha, beta)
        if worst is None or row.largest_ulp > worst.largest_ulp:
            worst = row
    assert worst is not None
    return worst


def rows() -> list[Row]:
    result = []
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        x = inputs(dtype)
        result.append(measure("torch elu", F.elu(x), x, 1.0, 1.0))
        result.append(measure("mpelu.elu", MF.elu(x), x, 1.0, 1.0))
        for pair in PARAMETERS:
            (alpha, alpha_tensor), (beta, beta_tensor) = (rounded(p, dtype) for p in pair)
            y = MF.mpelu(x, alpha_tensor, beta_tensor)
            result.append(measure("mpelu.mpelu", y, x, alpha, beta))
        if dtype in (torch.float32, torch.float64):
            result += [hardest(dtype, sign) for sign in (1, -1)]
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    measured = rows()
    heads = ("largest", "mean", "subnormal")
    print(f"{'':<14}{'dtype':<10}{'alpha':>8}{'beta':>8}", *(f"{h:>10}" for h in heads), " at x =")
    for row in measured:
        numbers = (row.largest_ulp, row.mean_ulp, row.largest_subnormal_ulp)
        print(
            f"{row.operator:<14}{row.dtype:<10}{row.alpha:>8.3g}{row.beta:>8.3g}",
            *(f"{number:>10.3f}" for number in numbers),
            f" {row.worst_x:.6g}",
        )
    written = [asdict(row) for row in measured]
    print("written:", write_results("accuracy", "cpu", written, arguments.output))
    ours = [row for row in measured if row.operator.startswith("mpelu")]
    return int(any(not row.largest_ulp <= MOST_ULPS[row.dtype] for row in ours))


if __name__ == "__main__":
    sys.exit(main())
