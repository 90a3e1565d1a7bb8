"""What Python tests have from the C++ tests' build."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "python"


def find_program(name: str) -> Path:
    """The file ``name`` in the folder ``MPELU_TEST_BIN``; a test without it fails."""
    folder = os.environ.get("MPELU_TEST_BIN")
    if folder is None:
        pytest.fail("MPELU_TEST_BIN is not set: it names the folder of the C++ tests (make test)")
    program = Path(folder, name)
    if not program.is_file():
        pytest.fail(f"{program} is missing: build with MPELU_BUILD_TESTS and MPELU_BUILD_EXAMPLES")
    return program
