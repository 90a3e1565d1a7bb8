"""Loads libmpelu.so (the ops) and _C (init and build information), once, with torch beside them.

Both are built for one minor version of torch, whose C++ interface is not stable: a mismatch is
reported here in words instead of as an undefined symbol.
"""

import re
from importlib import metadata
from pathlib import Path

import torch

PACKAGE_DIR = Path(__file__).parent
_LIBRARY = PACKAGE_DIR / "lib" / "libmpelu.so"
_REBUILD = (
    "rebuild it for this torch: pip install --no-build-isolation --force-reinstall --no-deps "
    "<mpelu's source folder>"
)


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _required_torch() -> str | None:
    """The minor version of torch that the installed wheel names as its requirement."""
    try:
        requirements = metadata.requires("mpelu") or []
    except metadata.PackageNotFoundError:
        return None
    found = (re.match(r"torch\s*==\s*(\d+\.\d+)", text) for text in requirements)
    return next((match.group(1) for match in found if match), None)


def _check_torch(built_for: str | None) -> None:
    if built_for is not None and _minor(built_for) != _minor(torch.__version__):
        raise ImportError(
            f"mpelu was built for torch {_minor(built_for)} and this is torch "
            f"{torch.__version__}; {_REBUILD}"
        )


def _load() -> None:
    if not _LIBRARY.is_file():
        raise ImportError(f"mpelu's library is missing: {_LIBRARY}; {_REBUILD}")
    _check_torch(_required_torch())
    try:
        torch.ops.load_library(_LIBRARY)  # type: ignore[no-untyped-call]
        from mpelu import _C
    except (ImportError, OSError) as error:
        raise ImportError(
            f"mpelu's library does not load with torch {torch.__version__}, most likely because "
            f"it was built for another version; {_REBUILD} ({error})"
        ) from error
    _check_torch(str(_C.build_info()["torch"]))


_load()
