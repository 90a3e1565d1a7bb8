#!/usr/bin/env bash
# Measures the bars of the CPU kernels, into benchmarks/results/, docs/benchmarks.md and the README;
# fails if one falls short. ARGS goes to benchmarks/bars.py.
# shellcheck source-path=SCRIPTDIR

source "${BASH_SOURCE[0]%/*}/build.sh"

status=0
"$VENV_PYTHON" benchmarks/bars.py "${EXTRA_ARGS[@]}" || status=$?
"$VENV_PYTHON" benchmarks/report.py summary bars machines
exit "$status"
