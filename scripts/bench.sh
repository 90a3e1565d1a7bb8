#!/usr/bin/env bash
# Times mpelu beside its peers. ARGS goes to benchmarks/bench.py.
# shellcheck source-path=SCRIPTDIR

source "${BASH_SOURCE[0]%/*}/build.sh"

exec "$VENV_PYTHON" benchmarks/bench.py "${EXTRA_ARGS[@]}"
