#!/usr/bin/env bash
# Times a training step of whole networks and counts its memory, into benchmarks/results/ and the
# README; fails if a bar falls short. ARGS goes to benchmarks/networks.py.
# shellcheck source-path=SCRIPTDIR

source "${BASH_SOURCE[0]%/*}/build.sh"

status=0
"$VENV_PYTHON" benchmarks/networks.py "${EXTRA_ARGS[@]}" || status=$?
"$VENV_PYTHON" benchmarks/report.py networks
exit "$status"
