#!/usr/bin/env bash
# Trains the depth-20 MPELU residual network for two epochs, which are the defaults of
# examples/python/train.py; ARGS goes there.
# shellcheck source-path=SCRIPTDIR

source "${BASH_SOURCE[0]%/*}/build.sh"

exec "$VENV_PYTHON" examples/python/train.py "${EXTRA_ARGS[@]}"
