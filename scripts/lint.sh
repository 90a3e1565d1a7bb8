#!/usr/bin/env bash
# Checks the format of C++ and Python, and the types of the package.
# shellcheck source-path=SCRIPTDIR

source "${BASH_SOURCE[0]%/*}/build.sh"

if ! is_current "$VENV/lint-stamp" "" pyproject.toml; then
  with_stamp "$VENV/lint-stamp" "" pip_install --no-build-isolation ".[lint]"
fi

say "clang-format"
find csrc tests/cpp tests/cmake_consumer examples/cpp benchmarks \
  \( -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' \) -print0 |
  xargs -0 clang-format --dry-run -Werror
say "ruff"
ruff check
ruff format --check
say "mypy"
mypy
