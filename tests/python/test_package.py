"""What `import mpelu` promises: the loaded libraries, the version, the paths, and clear errors."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest
import torch

import mpelu
from mpelu import _library


def test_version_is_that_of_the_installed_package_and_of_the_library():
    assert mpelu.__version__ == metadata.version("mpelu") == mpelu.build_info()["version"]


def test_library_was_built_for_this_torch():
    built_for = mpelu.build_info()["torch"].split(".")[:2]
    assert built_for == torch.__version__.split(".")[:2]


def test_cmake_prefix_path_holds_the_cmake_package():
    assert (Path(mpelu.cmake_prefix_path) / "mpelu" / "mpeluConfig.cmake").is_file()


def test_importing_is_enough_to_register_the_ops():
    assert torch.ops.mpelu.elu(torch.tensor(-1.0), 0.0).item() == 0.0


def test_another_torch_than_the_wheel_asks_for_is_an_import_error(monkeypatch):
    monkeypatch.setattr(metadata, "requires", lambda name: ["numpy", "torch==2.9.*"])
    with pytest.raises(ImportError, match=r"built for torch 2\.9 and this is torch .*; rebuild it"):
        _library._load()


def test_another_torch_than_the_library_was_built_for_is_an_import_error(monkeypatch):
    monkeypatch.setattr(mpelu._C, "build_info", lambda: {"torch": "1.13.0"})
    with pytest.raises(ImportError, match=r"built for torch 1\.13 and this is torch"):
        _library._load()


def test_a_missing_library_is_an_import_error_that_names_the_file(monkeypatch, tmp_path):
    monkeypatch.setattr(_library, "_LIBRARY", tmp_path / "libmpelu.so")
    with pytest.raises(ImportError, match=r"library is missing: .*libmpelu\.so; rebuild it"):
        _library._load()


def test_a_library_that_does_not_load_is_an_import_error_with_the_reason(monkeypatch, tmp_path):
    broken = tmp_path / "libmpelu.so"
    broken.write_text("not a library")
    monkeypatch.setattr(_library, "_LIBRARY", broken)
    with pytest.raises(ImportError, match=r"does not load with torch .*libmpelu\.so"):
        _library._load()
