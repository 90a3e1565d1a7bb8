#!/usr/bin/env bash
# Runs every test: C++ (ctest), Python (pytest), and a CMake project that uses what is installed.
# ARGS goes to pytest.
# shellcheck source-path=SCRIPTDIR

source "${BASH_SOURCE[0]%/*}/build.sh"

build_cpp_tests() {
  if ! [[ -f $BUILD/tests/cpp/CTestTestfile.cmake ]]; then
    cmake -S . -B "$BUILD" -G Ninja -DMPELU_BUILD_TESTS=ON -DMPELU_BUILD_EXAMPLES=ON \
      -DMPELU_CUDA="$CUDA" -DPython_EXECUTABLE="$PWD/$VENV_PYTHON" ||
      die "the C++ tests could not be configured; without Catch2 and a network for it," \
        "run 'sudo apt-get install catch2' first"
  fi
  cmake --build "$BUILD" --parallel "$MAX_JOBS"
}

# Python is hidden from it, because a C++ program that uses mpelu needs none.
test_cmake_consumer() {
  local folder=$BUILD/cmake_consumer prefix
  prefix=$("$VENV_PYTHON" -c 'import mpelu; print(mpelu.cmake_prefix_path)')
  cmake -Wno-unused-cli -S tests/cmake_consumer -B "$folder" -G Ninja \
    -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_DISABLE_FIND_PACKAGE_Python=ON
  cmake --build "$folder"
  "$folder/consumer"
}

say "C++ tests"
build_cpp_tests
ctest --test-dir "$BUILD" --output-on-failure
say "a CMake project that uses the installed mpelu"
test_cmake_consumer
export MPELU_TEST_BIN=$BUILD/bin
# Threads that wait for work must not keep another worker's from it.
export OMP_WAIT_POLICY=passive
workers=$MAX_JOBS
if has_gpu; then
  workers=0 # a GPU may not have the memory of more than one at a time
fi
pytest=("$VENV_PYTHON" -m pytest --numprocesses "$workers" --dist worksteal "${EXTRA_ARGS[@]}")
say "Python tests"
"${pytest[@]}"
say "Python tests of the CUDA operators, emulated on the CPU"
# Those that ARGS chooses may be none of them, which is status 5.
"${pytest[@]}" --emulate-cuda || [[ $? == 5 && -n $ARGS ]]
