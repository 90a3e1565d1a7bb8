#!/usr/bin/env bash
# Makes the environment ready and installs mpelu in it, if a source has changed since the last time.
# shellcheck source-path=SCRIPTDIR

source "${BASH_SOURCE[0]%/*}/environment.sh"
ensure_environment

readonly SOURCES=(csrc python/mpelu cmake CMakeLists.txt setup.py pyproject.toml VERSION)

install_mpelu() {
  # First by itself, since pip shows nothing of a build before it ends.
  "$VENV_PYTHON" setup.py --quiet build_ext
  pip_install --no-build-isolation ".[test]"
  "$VENV_PYTHON" -c 'import mpelu
for name, value in mpelu.build_info().items():
    print(f"  {name}: {value}")'
}

key="CUDA=$CUDA nvcc=$(command -v nvcc || true) architectures=${TORCH_CUDA_ARCH_LIST:-}"
if ! is_current "$VENV/mpelu-stamp" "$key" "${SOURCES[@]}" "$VENV/environment-stamp"; then
  say "building mpelu in $VENV"
  with_stamp "$VENV/mpelu-stamp" "$key" install_mpelu
fi
