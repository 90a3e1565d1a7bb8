# ruff: noqa: N999
from types import ModuleType

from torch import Generator, Tensor

formula: ModuleType

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
def fill_weight(
    weight: Tensor,
    slope: float,
    mode: str,
    uniform: bool,
    generator: Generator | None,
    groups: int,
) -> None: ...
def build_info() -> dict[str, str | None]: ...
