# make build    set up an environment (.venv) and build and install mpelu in it
# make train    train the depth-20 MPELU residual network on images for two epochs
# make test     run every C++ and Python test
# make bench    time mpelu beside its peers, measure its errors, write both into the documents
# make bench-check   fail if a bar of the CPU kernels falls short (not part of make test)
# make bench-networks   time a training step of whole networks and count its memory (minutes)
# make gpu      build for this machine's card with $(PYTHON)'s own torch, run the CUDA tests, the
#               bars of the CUDA kernels, the networks' training steps and compute-sanitizer
# make lint     clang-format, ruff and mypy
# make wheel    write a wheel into dist/
# make clean    remove what was built (the environments stay: remove .venv* by hand)
#
# TORCH=2.11.0       another version of torch, in an environment of its own
# CUDA=on|off|auto   build the CUDA kernels, or not (auto: where there is an nvcc or a GPU)
# PYTHON=python3     the Python that the environment is made from
# ARGS="..."         more options for what the target runs

TORCH ?=
CUDA ?= auto
PYTHON ?= python3
ARGS ?=
export TORCH CUDA PYTHON ARGS

TARGETS := build train test bench bench-check bench-networks gpu lint wheel clean

.PHONY: $(TARGETS)
$(TARGETS):
	@scripts/$@.sh
