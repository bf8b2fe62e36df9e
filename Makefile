# Every routine task. `make` alone explains them.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
DATA ?= ./pacs-data
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
# uv is quicker where it is there, and never needed.
UV := $(shell uv --version >/dev/null 2>&1 && echo uv)
ifeq ($(UV),uv)
INSTALL := uv pip install --quiet --python $(BIN)/python
else
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
endif
COMPILE := uv pip compile pyproject.toml --universal --generate-hashes --no-emit-index-url \
	--no-emit-find-links --no-annotate --no-header --quiet $(ARGS)

.PHONY: help install install-dev run demo test test-faults check format bench docs lock clean

help: ## Show this
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

install: $(RUNTIME) ## Install what the server needs into .venv
install-dev: $(DEV) ## Install what tests, checks and benchmarks need, too

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	@$(if $(UV),uv venv --quiet --python "$$(command -v $(PYTHON))" $(VENV),$(PYTHON) -m venv $(VENV))

$(RUNTIME): requirements.lock pyproject.toml | $(BIN)/python
	$(INSTALL) --require-hashes -r requirements.lock
	$(INSTALL) --no-deps -e .
	@touch $@

$(DEV): requirements-dev.lock pyproject.toml | $(BIN)/python
	$(INSTALL) --require-hashes -r requirements-dev.lock
	$(INSTALL) --no-deps -e .
	@touch $@ $(RUNTIME)

run: install ## Run the server on its default ports; data in ./pacs-data (DATA=…, ARGS=…)
	exec $(BIN)/pacs-actors serve --data $(DATA) $(ARGS)

demo: install ## Run the server and send it generated studies; data in ./pacs-demo
	exec $(BIN)/python -m bench.demo $(ARGS)

test: install-dev ## Run the tests (ARGS=…)
	$(BIN)/pytest -q $(ARGS)

test-faults: install-dev ## Run the long campaigns: kills, power cuts, full disks (some need root)
	$(BIN)/pytest -q -m slow --timeout 1800 $(ARGS)

check: install-dev ## Lint, check format, types and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: install-dev ## Format the code and fix what ruff can fix
	$(BIN)/ruff check --fix --exit-zero --quiet
	$(BIN)/ruff format

bench: install-dev ## Measure the server beside others that are installed (ARGS="--runs 3")
	$(BIN)/python -m bench.compare $(ARGS)

docs: install-dev ## Write the generated files: config/reference.md, config/pacs.toml
	$(BIN)/python -m config.reference

lock: ## Resolve the dependencies anew (needs uv; ARGS=--upgrade for newer ones)
	$(COMPILE) --all-extras --output-file requirements-dev.lock
	$(COMPILE) --constraint requirements-dev.lock --output-file requirements.lock

clean: ## Remove what was built; leaves data alone
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
