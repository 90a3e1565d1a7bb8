"""nvcc compiles no header of torch's: a file takes seconds, whatever the version of torch."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from programs import ROOT

CSRC = ROOT / "csrc"
OWN = CSRC, CSRC / "include"
TORCH = [
    Path(torch.__file__).parent / "include" / folder for folder in ("", "torch/csrc/api/include")
]

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^">]+)[>"]', re.MULTILINE)


def included_headers(source: Path) -> dict[str, Path]:
    """The headers that are included, in turn too -> the file that names it."""
    headers: dict[str, Path] = {}
    files = [source]
    while files:
        file = files.pop()
        for name in INCLUDE.findall(file.read_text()):
            if name not in headers:
                headers[name] = file
                candidates = (folder / name for folder in (*OWN, file.parent))
                files += [path for path in candidates if path.is_file()][:1]
    return headers


def test_cuda_sources_include_no_header_of_torch() -> None:
    sources = sorted(CSRC.rglob("*.cu*"))
    assert len(sources) > 3
    assert (TORCH[0] / "ATen/ATen.h").is_file()
    for source in sources:
        for name, file in included_headers(source).items():
            assert not any((folder / name).exists() for folder in TORCH), f"{file}: {name}"
