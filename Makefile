# Two commands on a fresh machine with Python (3.11 or newer), make and git: `make train` and `make test`.
SHELL   := /bin/bash
PYTHON  ?= python3
VENV    ?= .venv
BIN     := $(VENV)/bin
UV      := $(shell command -v uv 2>/dev/null)
ARGS    ?=
BASE    ?= HEAD
SOURCES := pyproject.toml constraints.txt
FLOOR   ?= .venv-floor
ON_THE_FLOOR := tests/kernels tests/attention tests/contracts/test_compile.py tests/contracts/test_mixers.py \
	tests/export/test_timm.py tests/commands/test_end_to_end.py

.DEFAULT_GOAL := help
.PHONY: help install train test affected browser floor docs heavy lint types gpu wheel clean

help: ## list the targets
	@echo "visionattn: make TARGET [ARGS='...']"
	@grep -hE '^[a-z]+:.*?## ' $(MAKEFILE_LIST) | awk -F ':.*?## ' '{printf "  make %-8s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "visionattn needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; run make PYTHON=/path/to/python3.11")'
ifdef UV
	uv venv --quiet --python $(PYTHON) $(VENV)
else
	$(PYTHON) -m venv $(VENV)
endif

ifdef UV
PIP = uv pip install --quiet --python $(BIN)/python
else
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check
endif

$(VENV)/.ready: $(SOURCES) | $(BIN)/python
	@echo "installing visionattn into $(VENV) (the first time this downloads PyTorch and takes some minutes)"
	@$(PIP) -c constraints.txt -e .
	@touch $@

$(VENV)/.ready-dev: $(SOURCES) | $(BIN)/python
	@echo "installing visionattn with its development tools into $(VENV) (the first time this downloads PyTorch and takes some minutes)"
	@$(PIP) -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.ready

install: $(VENV)/.ready ## make .venv and install visionattn into it

train: $(VENV)/.ready ## train the default model on scikit-learn's digits; ARGS='...' passes arguments on
	@$(BIN)/visionattn train $(ARGS)

test: $(VENV)/.ready-dev ## run the test suite in two processes; ARGS='...' are passed to pytest
	@$(BIN)/python -m pytest -n 2 --dist loadfile --max-worker-restart=0 $(ARGS)

affected: $(VENV)/.ready-dev ## run the tests that a change since BASE (HEAD: what is uncommitted) is likely to break
	@files=$$($(BIN)/python scripts/affected.py $(BASE)) && $(BIN)/python -m pytest -n 2 --dist loadfile --max-worker-restart=0 $$files $(ARGS)

ifdef UV
$(FLOOR)/.ready: PIP = uv pip install --quiet --python $(FLOOR)/bin/python
$(FLOOR)/.ready: CREATE = uv venv --quiet --allow-existing --python $(PYTHON)
else
$(FLOOR)/.ready: PIP = $(FLOOR)/bin/python -m pip install --quiet --disable-pip-version-check
$(FLOOR)/.ready: CREATE = $(PYTHON) -m venv
endif

$(FLOOR)/.ready: pyproject.toml scripts/floors.py
	@echo "installing the oldest versions that pyproject.toml allows into $(FLOOR) (this downloads another PyTorch)"
	@$(CREATE) $(FLOOR)
	@$(PIP) $$($(PYTHON) scripts/floors.py pytest pytest-xdist jaxtyping beartype)
	@$(PIP) --no-deps -e .
	@touch $@

floor: $(FLOOR)/.ready ## run the tests that depend on versions on the oldest that pyproject.toml allows
	@$(FLOOR)/bin/python -m pytest -n 2 --dist loadfile --max-worker-restart=0 -W default -m 'not heavy and not gpu' $(ON_THE_FLOOR) $(ARGS)

$(VENV)/.ready-docs: $(VENV)/.ready-dev
	@$(PIP) -c constraints.txt -e '.[docs]'
	@touch $@

docs: $(VENV)/.ready-docs ## build the documentation site into site/, and run what its pages show
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@$(BIN)/python -m pytest -n 2 --dist loadfile --max-worker-restart=0 -m 'docs and not heavy' -o tmp_path_retention_policy=failed tests/pages tests/test_docs.py tests/test_guide.py tests/test_own_images_page.py tests/api/test_python_page.py tests/examples tests/conf $(ARGS)

heavy: $(VENV)/.ready-dev ## run the long sweeps that the suite leaves out, file by file; started again, those that have not passed
	@$(BIN)/python scripts/heavy.py $(ARGS)

lint: $(VENV)/.ready-dev ## ruff: style and formatting
	@$(BIN)/ruff check visionattn tests scripts
	@$(BIN)/ruff format --check visionattn tests scripts

types: $(VENV)/.ready-dev ## mypy: static types
	@$(BIN)/mypy

browser: $(VENV)/.ready-dev ## open the reports in Chromium; screenshots go to outputs/browser
	@$(BIN)/python -m pytest -n 0 -m browser tests/browser $(ARGS)

gpu: $(VENV)/.ready-dev ## run the tests and measurements that need a GPU; rows go to benchmarks/results/
	@$(BIN)/python benchmarks/gpu.py

wheel: $(VENV)/.ready-dev ## build the wheel into dist/
	@$(BIN)/python -m build --wheel --outdir dist .

clean: ## remove build products and caches (outputs and .venv stay)
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache *.egg-info
