"""Every test that takes `device` runs on the CPU and, where there is one, on the GPU.

Importing mpelu here loads the operators, torch.ops.mpelu, for all tests.
"""

from __future__ import annotations

import pytest
import torch

import mpelu


def _why_no_cuda() -> str | None:
    if not torch.cuda.is_available():
        return "no CUDA device"
    if not mpelu.build_info()["cuda"]:
        return "mpelu was built without CUDA"
    return None


WHY_NO_CUDA = _why_no_cuda()


def pytest_runtest_setup(item: pytest.Item) -> None:
    if WHY_NO_CUDA and item.get_closest_marker("cuda"):
        pytest.skip(WHY_NO_CUDA)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)
