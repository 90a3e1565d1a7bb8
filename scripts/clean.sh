#!/usr/bin/env bash
# Removes what was built. The environments stay: they took the downloads.
# shellcheck source-path=SCRIPTDIR

source "${BASH_SOURCE[0]%/*}/common.sh"

rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
find csrc python tests examples benchmarks -name __pycache__ -prune -exec rm -rf {} +
say "removed build/, dist/ and caches; .venv* and runs/ are yours to remove"
