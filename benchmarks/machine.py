"""Result files: what was measured, and what it depends on."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
from collections.abc import Sequence
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


def write_results(kind: str, device: str, rows: Sequence[dict[str, object]], folder: Path) -> Path:
    """Writes such as speed-Intel-Xeon-2026-01-31.json, and returns where; `kind` may be empty."""
    facts = describe(device)
    name = re.sub(r"\W+", "-", re.sub(r"\(R\)|\(TM\)|CPU.*", "", str(facts["device"]))).strip("-")
    path = folder / ("-".join(filter(None, (kind, name, facts["date"]))) + ".json")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"environment": facts, "rows": rows}, indent=1) + "\n")
    return path
