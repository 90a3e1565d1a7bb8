# ruff: noqa: N999
from collections.abc import Sequence

from torch import Generator, Tensor

def taylor_normal_(
    tensor: Tensor,
    alpha: float = 1.0,
    beta: float = 1.0,
    mode: str = "fan_in",
    generator: Generator | None = None,
) -> Tensor: ...
def taylor_uniform_(
    tensor: Tensor,
    alpha: float = 1.0,
    beta: float = 1.0,
    mode: str = "fan_in",
    generator: Generator | None = None,
) -> Tensor: ...
def calculate_fan(weight_shape: Sequence[int], mode: str = "fan_in") -> float: ...
def taylor_std(n: float, alpha: float, beta: float) -> float: ...
def build_info() -> dict[str, str | None]: ...
