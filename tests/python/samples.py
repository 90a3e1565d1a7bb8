"""The table of sample inputs: dtype x layout x channel dimension x size x kind of parameters.

`samples()` walks one dtype and one layout; a test is parametrised over those and loops over the
rest, naming the sample that fails. Dimensions and last-dimension sizes are all combined; the kinds
of alpha and beta, their dtype and the layout of grad_output take turns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import NamedTuple

import torch
from torch import Tensor

HALF_DTYPES = (torch.bfloat16, torch.float16)
DTYPES = (torch.float64, torch.float32, *HALF_DTYPES)

# Every tail of the SIMD loops, for up to 16 lanes unrolled four times, and no element at all.
LAST_SIZES = range(68)
LEADING_SIZES = {1: (), 2: (3,), 3: (2, 3), 4: (2, 3, 2), 5: (1, 3, 1, 2)}
ZERO_SIZES = ((0,), (0, 3), (3, 0), (0, 3, 4), (2, 0, 4), (2, 3, 0), (2, 3, 0, 5), (0, 0))

ELU_ALPHAS = (1.0, 0.25, 1.75, 0.0)
ALPHAS = (1.0, 0.25, 1.7, -0.6, 0.0, 0.03)
BETAS = (1.0, 0.5, 2.0, 1.3, -0.25, 0.0, 0.8)
# (alpha, beta): 0-d, one element, one element per channel; no beta is SPELU
PARAMETER_KINDS = (
    ("scalar", None),
    ("one", None),
    ("channel", None),
    ("scalar", "scalar"),
    ("one", "channel"),
    ("channel", "one"),
    ("channel", "channel"),
)


class Sample(NamedTuple):
    name: str
    input: Tensor
    grad_output: Tensor
    alpha: Tensor
    beta: Tensor | None
    dim: int


def _offset(values: Tensor) -> Tensor:
    base = values.new_zeros(values.numel() + 1)
    return base[1:].view(values.shape).copy_(values)


def _sliced(values: Tensor) -> Tensor:
    base = values.new_zeros(*values.shape[:-1], values.shape[-1] + 3)
    return base[..., 1 : values.shape[-1] + 1].copy_(values)


def _strided(values: Tensor) -> Tensor:
    base = values.new_zeros(*values.shape[:-1], 2 * values.shape[-1] + 1)
    return base[..., 1::2].copy_(values)


class Layout(NamedTuple):
    ranks: Sequence[int]
    arrange: Callable[[Tensor], Tensor]
    """The same values in this layout; an expanded one repeats the first along a dimension."""


LAYOUTS = {
    "contiguous": Layout((1, 2, 3), lambda values: values),
    "offset": Layout((3,), _offset),
    "channels_last": Layout((4,), lambda v: v.contiguous(memory_format=torch.channels_last)),
    "channels_last_3d": Layout((5,), lambda v: v.contiguous(memory_format=torch.channels_last_3d)),
    "transposed": Layout((2, 3), lambda v: v.transpose(-1, -2).contiguous().transpose(-1, -2)),
    "sliced": Layout((3,), _sliced),
    "strided": Layout((3,), _strided),
    "expanded_outer": Layout((3,), lambda values: values[:1].expand(values.shape)),
    "expanded_inner": Layout((3,), lambda values: values[..., :1].expand(values.shape)),
}
WRITABLE_LAYOUTS = tuple(name for name in LAYOUTS if not name.startswith("expanded"))


def special_values(dtype: torch.dtype) -> tuple[float, ...]:
    """Finite values at which a kernel goes wrong first: signed zeros, denormals, |x| > 88."""
    tiny = torch.finfo(dtype).tiny
    denormal = tiny * torch.finfo(dtype).eps
    return (0.0, -200.0, -0.0, 200.0, -denormal, -90.0, denormal, -tiny, tiny, -17.0, -1e-3, -104.0)


NON_FINITE = (math.inf, -math.inf, math.nan)


def make_values(
    shape: Sequence[int], dtype: torch.dtype, seed: int = 0, specials: Sequence[float] = ()
) -> Tensor:
    """Normal values of deviation 3, every second one replaced by one of `specials` in turn."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(math.prod(shape), generator=generator, dtype=torch.float64) * 3
    if specials:
        for turn, index in enumerate(range(seed % 2, len(values), 2), start=seed):
            values[index] = specials[turn % len(specials)]
    return values.to(dtype).reshape(tuple(shape))


def make_parameter(
    kind: str, choices: Sequence[float], first: int, channels: int, dtype: torch.dtype
) -> Tensor:
    size = channels if kind == "channel" else 1
    values = [choices[(first + channel) % len(choices)] for channel in range(size)]
    return torch.tensor(values, dtype=dtype).reshape(() if kind == "scalar" else (size,))


def parameter_dtype(dtype: torch.dtype, turn: int) -> torch.dtype:
    """The input's, and for half inputs float32 in every second turn."""
    return torch.float32 if dtype in HALF_DTYPES and turn % 2 else dtype


def shapes(layout: str) -> Iterator[tuple[int, ...]]:
    if layout == "contiguous":
        yield ()
    for rank in LAYOUTS[layout].ranks:
        for size in LAST_SIZES:
            yield (*LEADING_SIZES[rank], size)


def samples(
    device: torch.device, dtype: torch.dtype, layout: str, every_dim: bool = True
) -> Iterator[Sample]:
    """All samples of one dtype and layout: `dim` is 0 alone unless `every_dim`."""
    turns = count()
    arrange = LAYOUTS[layout].arrange if layout != "contiguous" else torch.clone
    for shape in shapes(layout):
        rank = len(shape)
        for wrapped_dim in range(rank if every_dim and rank else 1):
            turn = next(turns)
            dim = wrapped_dim - rank if rank and turn % 2 else wrapped_dim
            channels = shape[wrapped_dim] if shape else 1
            alpha_kind, beta_kind = PARAMETER_KINDS[turn % len(PARAMETER_KINDS)]
            dtype_of_parameters = parameter_dtype(dtype, turn // len(PARAMETER_KINDS))
            values = make_values(shape, dtype, turn, special_values(dtype)).to(device)
            grad_output = make_values(shape, dtype, turn + 1).to(device)
            alpha = make_parameter(alpha_kind, ALPHAS, turn, channels, dtype_of_parameters)
            beta = None
            if beta_kind is not None:
                beta = make_parameter(beta_kind, BETAS, turn, channels, dtype_of_parameters)
            yield Sample(
                f"{layout} {list(shape)}, dim {dim}, alpha {alpha_kind}, beta {beta_kind}, "
                f"parameters {dtype_of_parameters}",
                arrange(values),
                arrange(grad_output) if turn % 3 else grad_output,
                alpha.to(device),
                None if beta is None else beta.to(device),
                dim,
            )
