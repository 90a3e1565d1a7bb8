# Sourced by the scripts that need the virtual environment: makes it ready, once.
# shellcheck shell=bash source-path=SCRIPTDIR

source "${BASH_SOURCE[0]%/*}/common.sh"

# The most that is in use at once, while pip unpacks; what pip keeps of its downloads comes on top.
readonly NEEDED_GB=9

# ---- what the machine must have -------------------------------------------------------------------

check_compiler() {
  local version compiler # as CMake takes it: a program, which may have arguments
  read -ra compiler <<<"${CXX:-g++}"
  command -v "${compiler[0]}" >/dev/null ||
    die "no C++ compiler (${compiler[*]}): run 'sudo apt-get install g++'"
  version=$("${compiler[@]}" -dumpversion)
  if "${compiler[@]}" --version | grep -q "Free Software Foundation" && ((${version%%.*} < 11)); then
    die "${compiler[*]} $version is too old for C++20: g++ 11 or newer is needed"
  fi
}

check_python() {
  command -v "$PYTHON" >/dev/null ||
    die "no Python ($PYTHON): run 'sudo apt-get install python3 python3-venv python3-dev'"
  "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    die "$("$PYTHON" --version) is too old: Python 3.10 or newer is needed (make PYTHON=python3.12)"
}

# "3 11"; nothing if it does not run.
python_version() { "$1" -c 'import sys; print(*sys.version_info[:2])' 2>/dev/null || true; }

has_venv() { "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null; }

has_headers() {
  "$PYTHON" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))'
}

# python3.11, where the distribution's packages are those of the Python in use.
python_package() {
  local program
  program=$("$PYTHON" -c 'import os, sys; print(os.path.realpath(sys.executable))')
  case $program in
    /usr/bin/python3.*) basename "$program" ;;
    *) return 1 ;;
  esac
}

can_install_packages() { ((EUID == 0)) && command -v apt-get >/dev/null; }

install_packages() {
  local package message
  export DEBIAN_FRONTEND=noninteractive
  say "installing with apt-get: $*"
  apt-get update -qq >/dev/null 2>&1 || true
  for package in "$@"; do
    message=$(apt-get install -qq -y --no-install-recommends "$package" 2>&1 >/dev/null) ||
      say "apt-get could not install $package: ${message##*$'\n'}"
  done
}

# What Python cannot do without, and what saves a download: Catch2 and the images.
install_system_packages() {
  local package missing=()
  if package=$(python_package); then
    has_venv || missing+=("$package-venv")
    has_headers || missing+=("$package-dev")
  fi
  [[ -d /usr/include/catch2 ]] || missing+=(catch2)
  [[ -d /usr/share/datasets/fashion-mnist ]] || missing+=(dataset-fashion-mnist)
  if ((${#missing[@]})) && can_install_packages; then
    install_packages "${missing[@]}"
  fi
  has_venv || die "$PYTHON has no venv: run 'sudo apt-get install ${package:-python3}-venv'"
  has_headers || die "$PYTHON has no headers (Python.h): run 'sudo apt-get install ${package:-python3}-dev'"
}

check_disk() {
  local free_gb
  if compgen -G "$VENV/lib/python*/site-packages/torch" >/dev/null; then
    return
  fi
  free_gb=$(($(df -Pk . | awk 'NR == 2 {print $4}') / 1048576))
  ((free_gb >= NEEDED_GB)) ||
    die "no room: torch and its CUDA libraries take $NEEDED_GB GB, and $PWD has $free_gb GB free"
}

# ---- what goes into the environment --------------------------------------------------------------

# Runs pip install, and says in one line what went wrong where that is not the project's doing.
pip_install() {
  local log=$VENV/pip.log
  rm -f "$log"
  "$VENV_PYTHON" -m pip install --log "$log" "$@" && return
  if grep -q "No space left on device" "$log"; then
    die "no room: the disk filled up while pip was installing (about $NEEDED_GB GB are needed)"
  elif grep -qE "NewConnectionError|NameResolutionError|ConnectTimeout|ProxyError|ReadTimeout" "$log"; then
    die "no network: pip could not reach its package index"
  fi
  die "pip could not install $* (see above)"
}

has_gpu() { [[ -e /dev/nvidia0 ]] || nvidia-smi -L >/dev/null 2>&1; }

# The major versions of CUDA of the nvcc's among which cmake/MpeluCuda.cmake looks for torch's.
nvcc_majors() {
  local nvcc
  for nvcc in "${CUDACXX:-}" {"${CUDA_HOME:-}","${CUDA_PATH:-}",/usr/local/cuda}/bin/nvcc nvcc; do
    "${nvcc:-false}" --version 2>/dev/null | sed -n 's/.*release \([0-9]*\)\..*/\1/p' || true
  done
}

# pip's nvcc, of the CUDA version that torch was built with, for who has a GPU and no toolkit.
install_nvcc() {
  local torch cuda
  read -r torch cuda < <("$VENV_PYTHON" -c 'from torch.version import __version__, cuda
print(__version__.partition("+")[0], cuda or "")')
  if [[ -z $cuda ]] || grep -qx "${cuda%%.*}" <<<"$(nvcc_majors)"; then
    return
  fi
  say "no nvcc of CUDA ${cuda%%.*} is found: installing pip's"
  pip_install "torch==$torch" "cuda-toolkit[nvcc,nvvm,crt,cccl,cudart]==$cuda.*"
}

fill_environment() {
  pip_install "torch${TORCH:+==$TORCH}" "setuptools>=70.1" "cmake>=3.27" ninja torchvision
  if [[ $CUDA == on ]] || { [[ $CUDA == auto ]] && has_gpu; }; then
    install_nvcc
  elif [[ $CUDA == auto && -z $(nvcc_majors) ]]; then
    say "no GPU and no nvcc: building for the CPU"
  fi
}

make_environment() {
  check_compiler
  check_python
  install_system_packages
  check_disk
  say "setting up $VENV (the first time, torch is downloaded: a few minutes)"
  [[ $(python_version "$VENV_PYTHON") == "$(python_version "$PYTHON")" ]] ||
    "$PYTHON" -m venv --clear "$VENV"
  with_stamp "$VENV/environment-stamp" "$1" fill_environment
}

ensure_environment() {
  local key
  key="CUDA=$CUDA python=$(python_version "$PYTHON")"
  if ! is_current "$VENV/environment-stamp" "$key" scripts/environment.sh; then
    make_environment "$key"
  fi
}
