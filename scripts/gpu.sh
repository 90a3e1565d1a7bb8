#!/usr/bin/env bash
# Builds mpelu for this machine's card, with the torch that $PYTHON already has, then runs what only a
# GPU can show, measures the bars and whole networks, into benchmarks/results/gpu/ and the README, has
# compute-sanitizer watch every kernel, and runs the other CUDA tests and the C++ tests. Nothing is
# downloaded, and nothing is installed outside build/, where each step leaves its log. STEPS, of "first
# bars networks sanitizers tests", leaves steps out; ARGS goes to pytest. At their limits of time,
# STEPS="first bars networks" and, without the C++ tests, STEPS="sanitizers tests" each leave two
# minutes of ten to the build.
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

# Time on a GPU is scarce: what fails is told at the end, what hangs is stopped, and the rest still
# runs.
failed=()
attempt() {
  local what=$1 seconds=$2
  shift 2
  say "$what"
  timeout --kill-after 5 "$seconds" "$@" 2>&1 | tee "$BUILD_GPU/${what// /-}.log" || failed+=("$what")
}
has_step() { [[ " ${STEPS:-first bars networks sanitizers tests} " == *" $1 "* ]]; }

# A file that cannot be imported takes no other with it. Those of the examples need more packages.
readonly CUDA_TESTS=("$PYTHON" -m pytest -m cuda --continue-on-collection-errors
  --ignore tests/python/test_data.py --ignore-glob 'tests/python/test_train*.py')

sanitizer=$(PATH=$PATH:${CUDA_HOME:-/usr/local/cuda}/bin command -v compute-sanitizer || true)

# Without torch's cache of memory, in which what lies beyond a tensor's end is another tensor.
watch_every_kernel() {
  local options=()
  [[ $1 == memcheck ]] && options=(--report-api-errors no)
  PYTORCH_NO_CUDA_MEMORY_CACHING=1 timeout 240 "$sanitizer" --tool "$1" --error-exitcode 1 \
    "${options[@]}" "$PYTHON" tests/python/every_cuda_kernel.py
}

# All four at a time: nothing is timed any more.
run_sanitizers() {
  local tool
  local -A running
  for tool in memcheck racecheck initcheck synccheck; do
    watch_every_kernel "$tool" >"$BUILD_GPU/$tool.log" 2>&1 &
    running[$tool]=$!
  done
  for tool in "${!running[@]}"; do
    say "compute-sanitizer $tool"
    wait "${running[$tool]}" || failed+=("compute-sanitizer $tool")
    tail -n 40 "$BUILD_GPU/$tool.log"
  done
}

if has_step first; then
  attempt "what only a GPU can show" 120 "${CUDA_TESTS[@]}" tests/python/test_cuda.py \
    "${EXTRA_ARGS[@]}"
fi

if has_step bars; then
  attempt "bars of the CUDA kernels" 200 "$PYTHON" benchmarks/cuda_bars.py
  attempt "table of the bars in README.md" 20 "$PYTHON" benchmarks/report.py gpu
fi

if has_step networks; then
  attempt "training steps of networks" 120 "$PYTHON" benchmarks/networks.py --device cuda
  attempt "table of the networks in README.md" 20 "$PYTHON" benchmarks/report.py --no-charts networks
fi

if has_step sanitizers && [[ -n $sanitizer ]]; then
  run_sanitizers
elif has_step sanitizers; then
  say "no compute-sanitizer on this machine"
  failed+=("compute-sanitizer")
fi

if has_step tests; then
  attempt "CUDA tests" 240 "${CUDA_TESTS[@]}" --ignore tests/python/test_cuda.py "${EXTRA_ARGS[@]}"
  # They need Catch2, which is not downloaded here.
  if [[ -e /usr/include/catch2 || -e /usr/local/include/catch2 ]]; then
    attempt "configuring the C++ tests" 60 cmake -S . -B "$BUILD_GPU" -DMPELU_BUILD_TESTS=ON
    attempt "building the C++ tests" 300 cmake --build "$BUILD_GPU" --parallel "$MAX_JOBS"
    attempt "C++ tests" 120 ctest --test-dir "$BUILD_GPU" --output-on-failure
  else
    say "no Catch2 on this machine: the C++ tests are left out"
  fi
fi

if ((${#failed[@]})); then
  die "failed: $(printf '%s; ' "${failed[@]}")see above"
fi
say "all of it passed"
