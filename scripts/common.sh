# Sourced by every script: settings, messages, and the way to run things in the environment.
# shellcheck shell=bash disable=SC2034

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

: "${TORCH:=}" "${CUDA:=auto}" "${PYTHON:=python3}" "${ARGS:=}"

say() { printf 'mpelu: %s\n' "$*"; }
die() {
  printf 'mpelu: error: %s\n' "$*" >&2
  exit 1
}

case $CUDA in on | off | auto) ;; *) die "CUDA must be on, off or auto, got '$CUDA'" ;; esac

PYTHON=$(command -v "$PYTHON" || echo "$PYTHON") # before the environment's own comes first
VENV=.venv${TORCH:+-torch-$TORCH}
VENV_PYTHON=$VENV/bin/python
BUILD=$PWD/build/${VENV#.}
# xargs parts words as a shell does, with quotes, and unlike eval it expands and runs nothing.
mapfile -d '' -t EXTRA_ARGS < <(xargs -r printf '%s\0' <<<"$ARGS")
wait "$!" || die "ARGS cannot be parted into words: $ARGS"

export MPELU_BUILD_FOLDER=$BUILD MPELU_CUDA=$CUDA
export PATH=$PWD/$VENV/bin:$PATH
export PIP_DISABLE_PIP_VERSION_CHECK=1

# Of a container, if it is limited: "max" where it is not, nothing where there is no such file.
cgroup() { cat "/sys/fs/cgroup/$1" 2>/dev/null || true; }

# As many compilers at once as there are cores and 2 GB pieces of memory.
default_jobs() {
  local jobs memory limit quota period
  jobs=$(nproc)
  read -r quota period <<<"$(cgroup cpu.max)"
  [[ $quota =~ ^[0-9]+$ ]] && ((jobs > quota / period)) && jobs=$((quota / period))
  memory=$(awk '/MemAvailable/ {print $2}' /proc/meminfo)
  limit=$(cgroup memory.max)
  [[ $limit =~ ^[0-9]+$ ]] && ((memory > limit / 1024)) && memory=$((limit / 1024))
  ((jobs > memory / 2097152)) && jobs=$((memory / 2097152))
  echo $((jobs < 1 ? 1 : jobs))
}
export MAX_JOBS=${MAX_JOBS:-$(default_jobs)}

# is_current <stamp> <key> <source>...: the stamp holds the key, and no source is newer than it.
# Folders count as sources of their own, so that a deleted file is noticed.
is_current() {
  local stamp=$1 key=$2
  shift 2
  [[ -f $stamp && $(<"$stamp") == "$key" ]] || return 1
  [[ -z $(find "$@" -name __pycache__ -prune -o -newer "$stamp" -print -quit) ]]
}

# with_stamp <stamp> <key> <command>...: runs the command and then writes the stamp, which gets the
# time of the start: a source that changes meanwhile is newer.
with_stamp() {
  local stamp=$1 key=$2
  shift 2
  rm -f "$stamp"
  printf '%s\n' "$key" >"$stamp.new"
  "$@"
  mv "$stamp.new" "$stamp"
}
