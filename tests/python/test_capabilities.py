"""The kernels are compiled once per instruction set: the ones that this CPU would not choose."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
# From the slowest; a CPU runs what it has and everything before that.
CAPABILITIES = ("DEFAULT", "AVX2", "AVX512")


@pytest.mark.parametrize("capability", CAPABILITIES[:-1])
def test_kernels_of_a_smaller_instruction_set(capability: str) -> None:
    """One layout and two dtypes of each operator's tests, in a process limited to it."""
    best = torch.backends.cpu.get_cpu_capability()
    if best not in CAPABILITIES or CAPABILITIES.index(capability) >= CAPABILITIES.index(best):
        pytest.skip(f"torch chooses {best} here: nothing smaller that is called {capability}")
    activations = "(contiguous or not_finite or sign) and (float32 or bfloat16)"
    batch_norm = "those_of_the_pair or narrow or survive or past_the_end"
    selection = f"cpu and not large and ({activations} or {batch_norm})"
    selection += " or numbers_of_threads and (few or volumes) and channel"
    if capability == "AVX2":  # it alone streams stores of half a line
        selection += " or cpu and equals_its_parts and float32 and (channels or lines)"
    program = (
        "import pytest, sys, torch;"
        f"assert torch.backends.cpu.get_cpu_capability() == {capability!r};"
        "sys.exit(pytest.main(sys.argv[1:]))"
    )
    names = ("elu", "mpelu", "batch_norm_mpelu", "large", "determinism")
    files = [str(HERE / f"test_{name}.py") for name in names]
    result = subprocess.run(
        [sys.executable, "-c", program, "-q", "-p", "no:cacheprovider", "-k", selection, *files],
        env=os.environ | {"ATEN_CPU_CAPABILITY": capability.lower()},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert " passed" in result.stdout
