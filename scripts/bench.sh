#!/usr/bin/env bash
# Times mpelu beside its peers and measures its errors, into benchmarks/results/; then writes the
# documents' tables and charts from the files there. ARGS goes to benchmarks/bench.py.
# shellcheck source-path=SCRIPTDIR

source "${BASH_SOURCE[0]%/*}/build.sh"

"$VENV_PYTHON" benchmarks/accuracy.py
"$VENV_PYTHON" benchmarks/bench.py "${EXTRA_ARGS[@]}"
"$VENV_PYTHON" benchmarks/report.py
