#!/usr/bin/env bash
# Writes a wheel into dist/, in a folder named for the torch that it was built with and needs.
# shellcheck source-path=SCRIPTDIR

source "${BASH_SOURCE[0]%/*}/build.sh"

torch=$("$VENV_PYTHON" -c 'import torch; print(torch.__version__)')
"$VENV_PYTHON" -m pip wheel --no-build-isolation --no-deps --wheel-dir "dist/torch-$torch" .
