"""Builds mpelu with CMake: CMakeLists.txt has the sources and flags, pyproject.toml the metadata.

Environment variables: MPELU_CUDA (on, off or auto), MPELU_BUILD_FOLDER, and, as for torch's own
extensions, TORCH_CUDA_ARCH_LIST and MAX_JOBS. The build folder is kept, so that a second build
compiles what changed.
"""

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent.resolve()
MINIMUM_CMAKE = (3, 27)


def torch_version() -> str | None:
    """The version of the torch that is built against, as 2.15.0."""
    try:
        return version("torch").partition("+")[0]
    except PackageNotFoundError:
        return None


def torch_requirement() -> str:
    """A wheel runs with the minor version it was built with: libtorch has no stable C++ ABI."""
    built_with = torch_version()
    if built_with is None:
        return "torch>=2.11"
    major, minor = built_with.split(".")[:2]
    return f"torch=={major}.{minor}.*"


def build_folder() -> Path:
    python = f"py{sys.version_info.major}{sys.version_info.minor}"
    default = ROOT / "build" / f"torch-{torch_version()}-{python}"
    folder = Path(os.environ.get("MPELU_BUILD_FOLDER", default)).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def find_tool(name: str) -> str:
    """The tool that pip put beside this Python, else the one on the PATH."""
    tool = shutil.which(name, path=Path(sys.executable).parent) or shutil.which(name)
    if tool is None:
        raise SystemExit(f"mpelu needs {name} to build: pip install 'cmake>=3.27' ninja")
    return tool


def find_cmake() -> str:
    cmake = find_tool("cmake")
    text = subprocess.run([cmake, "--version"], capture_output=True, text=True, check=True).stdout
    found = tuple(int(part) for part in re.findall(r"\d+", text)[:2])
    if found < MINIMUM_CMAKE:
        raise SystemExit(
            f"mpelu needs cmake >= 3.27 to build, found {text.split()[2]} ({cmake}): "
            "pip install 'cmake>=3.27'"
        )
    return cmake


class BuildPy(build_py):
    """Starts from an empty folder, so that a deleted module leaves the wheel too."""

    def run(self) -> None:
        shutil.rmtree(Path(self.build_lib), ignore_errors=True)
        super().run()


class BuildExt(build_ext):
    """Hands the whole build to CMake and installs its result into the package."""

    def run(self) -> None:
        if torch_version() is None:
            raise SystemExit(
                f"mpelu needs torch>=2.11 to build, and {sys.executable} has none: "
                "pip install torch, then pip install --no-build-isolation ."
            )
        cmake, folder = find_cmake(), build_folder()
        package = Path(self.get_ext_fullpath("mpelu._C")).parent.resolve()
        jobs = os.environ.get("MAX_JOBS")
        for command in (
            [
                *(cmake, "-S", ROOT, "-B", folder, "-G", "Ninja"),
                f"-DCMAKE_MAKE_PROGRAM={find_tool('ninja')}",
                f"-DPython_EXECUTABLE={sys.executable}",
                f"-DMPELU_CUDA={os.environ.get('MPELU_CUDA', 'auto')}",
            ],
            [
                *(cmake, "--build", folder, "--target", "mpelu", "_C"),
                *(["--parallel", jobs] if jobs else []),
            ],
            [cmake, "--install", folder, "--prefix", package, "--component", "mpelu"],
        ):
            try:
                subprocess.run(command, check=True)
            except subprocess.CalledProcessError as error:
                raise SystemExit(f"mpelu: cmake failed with status {error.returncode}") from None


setup(
    install_requires=[torch_requirement()],
    ext_modules=[Extension("mpelu._C", sources=[])],
    cmdclass={"build_py": BuildPy, "build_ext": BuildExt},
    options={
        "build": {"build_base": str(build_folder() / "package")},
        "egg_info": {"egg_base": str(build_folder())},
    },
)
