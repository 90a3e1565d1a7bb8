#!/usr/bin/env bash
# Measures the bars of the CPU kernels, and fails if one falls short. ARGS goes to benchmarks/bars.py.
# shellcheck source-path=SCRIPTDIR

source "${BASH_SOURCE[0]%/*}/build.sh"

exec "$VENV_PYTHON" benchmarks/bars.py "${EXTRA_ARGS[@]}"
