"""What a result depends on, for its file."""

from __future__ import annotations

import datetime
import os
import platform
import re
from pathlib import Path

import torch

import mpelu


def processor_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    names = (
        re.findall(r"^model name\s*:\s*(.*)$", cpuinfo.read_text(), re.M)
        if cpuinfo.exists()
        else []
    )
    return names[0] if names else platform.processor() or platform.machine()


def describe(device: str) -> dict[str, object]:
    return {
        "date": datetime.date.today().isoformat(),
        "device": torch.cuda.get_device_name() if device == "cuda" else processor_name(),
        "cores": os.cpu_count(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "mpelu": mpelu.build_info(),
    }


def file_name(kind: str, facts: dict[str, object]) -> str:
    """Such as speed-Intel-Xeon-2026-01-31.json."""
    device = re.sub(r"\W+", "-", re.sub(r"\(R\)|\(TM\)|CPU.*", "", str(facts["device"]))).strip("-")
    return f"{kind}-{device}-{facts['date']}.json"
