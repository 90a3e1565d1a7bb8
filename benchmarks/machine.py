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


def results_path(kind: str, facts: dict[str, object], folder: Path) -> Path:
    """Such as speed-Intel-Xeon-2026-01-31.json; `kind` may be empty."""
    name = re.sub(r"\W+", "-", re.sub(r"\(R\)|\(TM\)|CPU.*", "", str(facts["device"]))).strip("-")
    return folder / ("-".join(filter(None, (kind, name, str(facts["date"])))) + ".json")


def write_results(kind: str, device: str, rows: Sequence[dict[str, object]], folder: Path) -> Path:
    """Writes the file, and returns where."""
    facts = describe(device)
    path = results_path(kind, facts, folder)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"environment": facts, "rows": rows}, indent=1) + "\n")
    return path


def written_rows(kind: str, device: str, folder: Path) -> list[dict[str, object]]:
    """What write_results() has written today."""
    text = results_path(kind, describe(device), folder).read_text()
    rows: list[dict[str, object]] = json.loads(text)["rows"]
    return rows
