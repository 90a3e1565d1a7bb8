"""Every test that takes `device` runs on the CPU and, where there is one, on the GPU.

With --emulate-cuda these tests alone run, on the CPU, with the CUDA operators in place of its own:
hosts and kernels as they are, the threads of a block as coroutines (tests/cpp/ops/cuda).

Importing mpelu here loads the operators, torch.ops.mpelu, for all tests.
"""

from __future__ import annotations

import re

import pytest
import torch
from programs import find_program

import mpelu


def _why_no_cuda() -> str | None:
    if not torch.cuda.is_available():
        return "no CUDA device"
    if not mpelu.build_info()["cuda"]:
        return "mpelu was built without CUDA"
    return None


WHY_NO_CUDA = _why_no_cuda()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--emulate-cuda", action="store_true", help="test the CUDA operators, emulated"
    )


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("--emulate-cuda"):
        return
    try:
        torch.ops.load_library(find_program("libmpelu_emulated_cuda.so"))
    except pytest.fail.Exception as error:
        raise pytest.UsageError(str(error)) from error
    for name in ("elu", "mpelu", "batch_norm_mpelu"):
        registered = torch._C._dispatch_dump(f"mpelu::{name}")
        assert re.search(rf"^CPU: .*/ops/cuda/{name}\.cpp:", registered, re.MULTILINE), registered


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--emulate-cuda"):
        left = [item for item in items if not is_on_cpu_for_any_device(item)]
        config.hook.pytest_deselected(items=left)
        items[:] = filter(is_on_cpu_for_any_device, items)


def is_on_cpu_for_any_device(item: pytest.Item) -> bool:
    return isinstance(item, pytest.Function) and (
        "device" in item.fixturenames and item.callspec.params["device"] == "cpu"
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    if WHY_NO_CUDA and item.get_closest_marker("cuda"):
        pytest.skip(WHY_NO_CUDA)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)
