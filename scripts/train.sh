#!/usr/bin/env bash
# Trains the depth-20 MPELU residual network for two epochs. ARGS goes to examples/python/train.py.
# shellcheck source-path=SCRIPTDIR

source "${BASH_SOURCE[0]%/*}/build.sh"

exec "$VENV_PYTHON" examples/python/train.py --depth 20 --epochs 2 "${EXTRA_ARGS[@]}"
