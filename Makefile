# Needs make and Python 3.11 or newer; everything else goes into .venv. As root, make also installs the Debian packages
# that emulation needs; without root it says what cannot be checked.
#
#   make demo       compile GhostNet for this machine and for 64-bit ARM, verify both, print the table
#   make test       the tests but those marked large        make test-all   all of them
#   make check      ruff, mypy --strict, import-linter      make bench      latency beside onnxruntime's
#   make bench-prune DATA=DIR   accuracy of pruned networks on Fashion-MNIST: hours; continues where it was stopped
#   make clean      remove what builds and tests left; .venv stays
#
# PYTHON=python3.12 chooses the Python; PIP_FLAGS goes to pip; WORKERS is how many tests run at a time.

WORKERS ?= 2
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt $(PIP_FLAGS)
BENCH := ghostnet-1.0,mobilenetv2-1.0,mobilenetv3-large,repvgg-a0
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

EMULATION := qemu-user-static libc6-arm64-cross
TESTING := $(EMULATION) libc6-armhf-cross gcc libc6-dev cmake qemu-user llvm-19 pocl-opencl-icd ocl-icd-libopencl1 \
	mesa-vulkan-drivers openssh-client openssh-server adb busybox mksh chromium

.PHONY: help demo test test-all check bench bench-prune clean emulation testing

help:
	@sed -n 's/^# \{0,1\}//;1,/^WORKERS/p' Makefile | sed '$$d'

demo: .venv/.demo emulation
	@echo "== Exporting GhostNet 1.0 with random weights, and compiling it for this machine and for 64-bit ARM"
	@mkdir -p build
	$(BIN)/edgevision zoo export ghostnet-1.0 -o build/ghostnet.onnx
	$(BIN)/edgevision compile --target native --target arm64 build/ghostnet.onnx
	@echo "== The libraries, their headers and manifests are in build/ghostnet.native and build/ghostnet.arm64"

test: .venv/.dev testing
	$(PYTEST) -m "not large"

test-all: .venv/.dev testing
	$(PYTEST)

check: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: .venv/.demo
	$(BIN)/python -m benchmarks.peers --runtimes edgevision,onnxruntime --networks $(BENCH)

# DATA holds the four files of Fashion-MNIST, which Debian's dataset-fashion-mnist puts into /usr/share/datasets/fashion-mnist.
DATA ?= /usr/share/datasets/fashion-mnist

bench-prune: .venv/.dev
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --target .cache/torch-pruning-1.6 torch-pruning==1.6.0
	OMP_NUM_THREADS=1 nice -n 19 $(BIN)/python -W ignore -m benchmarks.prune_accuracy --data $(DATA)

clean:
	rm -rf build dist .cache .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find edgevision tests -name __pycache__ -prune -exec rm -rf {} +

emulation:
	@sh tools/system_packages.sh $(EMULATION)

testing:
	@sh tools/system_packages.sh $(TESTING)

# A dangling .venv/bin/python, left by a Python that is gone, does not exist for make: the environment is made again.
$(BIN)/python:
	@PYTHON="$(PYTHON)" sh tools/environment.sh .venv

.venv/.demo: pyproject.toml constraints.txt | $(BIN)/python
	@echo "== Installing edgevision and what it needs into .venv"
	$(INSTALL) -e '.[torch]'
	@touch $@

.venv/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "== Installing edgevision, what it needs and what its tests need into .venv"
	$(INSTALL) -e '.[dev]'
	@touch $@ .venv/.demo
