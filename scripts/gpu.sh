#!/usr/bin/env bash
# Builds mpelu for this machine's card, with the torch that $PYTHON already has, then runs the CUDA
# tests and the timing table. Nothing is downloaded, and nothing is installed outside build/.
# ARGS goes to pytest.
# shellcheck source-path=SCRIPTDIR

source "${BASH_SOURCE[0]%/*}/common.sh"

readonly BUILD_GPU=$PWD/build/gpu
readonly SITE=$BUILD_GPU/site
export MPELU_BUILD_FOLDER=$BUILD_GPU MPELU_CUDA=on
export PYTHONPATH=$SITE
PATH=$(dirname "$(command -v "$PYTHON")"):$PATH

for module in torch pytest; do
  "$PYTHON" -c "import $module" || die "$PYTHON has no $module, which make gpu does not install"
done
capability=$("$PYTHON" -c 'import torch
if torch.cuda.is_available():
    print("{}.{}".format(*torch.cuda.get_device_capability()))')
[[ -n $capability ]] || die "$PYTHON's torch sees no GPU"
export TORCH_CUDA_ARCH_LIST=$capability

say "building for compute capability $capability"
"$PYTHON" setup.py --quiet build_ext
"$PYTHON" -m pip install --quiet --no-index --no-deps --no-build-isolation --upgrade \
  --target "$SITE" .

# The C++ tests need Catch2, which is not downloaded here.
if [[ -e /usr/include/catch2 || -e /usr/local/include/catch2 ]]; then
  cmake -S . -B "$BUILD_GPU" -DMPELU_BUILD_TESTS=ON >/dev/null
  cmake --build "$BUILD_GPU" --parallel "$MAX_JOBS"
  ctest --test-dir "$BUILD_GPU" --output-on-failure
else
  say "no Catch2 on this machine: the C++ tests are left out"
fi

"$PYTHON" -m pytest -m cuda "${EXTRA_ARGS[@]}"
"$PYTHON" benchmarks/bench.py --device cuda --seconds 0.1 --output benchmarks/results/gpu
