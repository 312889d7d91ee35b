# Two commands for a newcomer: `make demo` and `make test`. Both make the environment they need.

PYTHON ?= python3
BIN := .venv/bin
# Tools that only tests need are installed by `make test`; --no-compile saves a minute of byte-compiling torch.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
# lava-nc runs on Python 3.10 alone; PYTHON310 may name one.
PYTHON310 ?= $(shell for p in python3.10 $$HOME/.pyenv/versions/3.10.*/bin/python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info[:2] != (3, 10))' 2>/dev/null && echo $$p && break; done)

.PHONY: demo test lint bench bench-train clean lava

demo: .venv/.core
	$(BIN)/neurodeploy demo

test: .venv/.dev lava
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy neurodeploy
	$(BIN)/python -m pytest

lint: .venv/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/mypy neurodeploy

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("neurodeploy needs Python 3.10 or newer, this is %d.%d" % sys.version_info[:2] if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv .venv

.venv/.core: .venv/bin/python pyproject.toml constraints.txt setup.py $(wildcard neurodeploy/sim/native/*.[ch])
	$(PIP) -e .
	touch $@

.venv/.dev: .venv/.core
	$(PIP) -e '.[dev,peers]'
	touch $@

# Lava's own environment, without torch: lava-dl only for netx, which needs none. Where no Python 3.10 is found, its tests are skipped and say so.
lava:
ifeq ($(strip $(PYTHON310)),)
	@echo "no Python 3.10 found: everything that needs Lava is SKIPPED (set PYTHON310=/path/to/python3.10)"
else
	@$(MAKE) --no-print-directory .venv-lava/.done
endif

.venv-lava/.done: pyproject.toml
	$(PYTHON310) -m venv .venv-lava
	.venv-lava/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
		lava-nc==0.10.0 h5py 'nir>=1.0.8,<2' numba click rich pydantic tomli Jinja2
	.venv-lava/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps lava-dl==0.6.0 -e .
	touch $@

# Ratios against other simulators: random networks, then one artifact; `make demo` leaves the default one.
ARTIFACT ?= runs/demo/rmp/export-loihi2
bench: .venv/.dev
	$(BIN)/python benchmarks/simulate.py nets --net resnet20-slim,vgg16
	$(BIN)/python benchmarks/simulate.py nets $(ARTIFACT)
	$(BIN)/python benchmarks/simulate.py layer

# Ratios of a training step against other libraries; ten minutes on a quiet machine.
bench-train: .venv/.dev
	$(BIN)/python benchmarks/train.py

clean:
	rm -rf .venv .venv-lava build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
