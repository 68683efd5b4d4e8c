# Everything installs itself into .venv from the hashed lock files in requirements/.
# `make help` lists the targets.

PYTHON ?= python3
PORT ?= 8420
DATA ?= ./data
ONLY ?=
UPGRADE ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
PROJECTS := pyproject.toml sdk/python/pyproject.toml
EDITABLE := --quiet --no-deps --no-build-isolation --editable . --editable sdk/python
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' Makefile

.PHONY: run
run: $(VENV)/.runtime ## Start Tertulia on PORT (8420), with all its state in DATA (./data)
	@exec $(BIN)/tertulia serve --port "$(PORT)" --data "$(DATA)"

.PHONY: demo
demo: DATA = ./demo-data
demo: $(VENV)/.runtime ## Start Tertulia with a small world of people in it, in DATA (./demo-data)
	@exec $(BIN)/tertulia serve --demo --port "$(PORT)" --data "$(DATA)"

.PHONY: test
test: $(VENV)/.dev ## Run all tests but the slow ones; ends within ten minutes
	$(BIN)/python -m pytest -m "not slow" -n 4 --dist loadfile -o faulthandler_timeout=300

.PHONY: test-slow
test-slow: $(VENV)/.dev ## Run only the slow tests
	$(BIN)/python -m pytest -m slow

.PHONY: test-all
test-all: $(VENV)/.dev ## Run every test
	$(BIN)/python -m pytest

.PHONY: lint
lint: $(VENV)/.dev ## Check style, formatting, types and the arrows between the packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports --no-logo

.PHONY: format
format: $(VENV)/.dev ## Format the code and mend what ruff can mend
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

.PHONY: bench
bench: $(VENV)/.dev ## Measure the speed (needs a C compiler); ONLY=name runs one
	$(BIN)/python -m bench $(if $(ONLY),--only "$(ONLY)")

.PHONY: torture
torture: $(VENV)/.dev ## Kill, starve and overload the real server, then compare what all sides saw
	$(BIN)/python -m tests.torture

.PHONY: lock
lock: $(VENV)/.dev ## Write requirements/*.txt from the pyproject.toml files; UPGRADE=1 takes newer versions
	$(LOCK) $(if $(UPGRADE),--upgrade) --group build --output-file requirements/runtime.txt $(PROJECTS)
	$(LOCK) $(if $(UPGRADE),--upgrade) --group dev --constraints requirements/runtime.txt \
		--output-file requirements/dev.txt $(PROJECTS)

.PHONY: clean
clean: ## Remove what the tools made, but neither .venv nor any data
	rm -rf .cache .hypothesis .import_linter_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# The environment. An existing one is kept and brought to what the lock says.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'Tertulia needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ...' >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
		echo 'This Python cannot make environments; on Debian: apt install python3-venv' >&2; exit 1; }

$(VENV)/.runtime: requirements/runtime.txt $(PROJECTS) | $(BIN)/python
	$(PIP) install --quiet --require-hashes --requirement requirements/runtime.txt
	$(PIP) install $(EDITABLE)
	@touch $@

# dev.txt holds all of runtime.txt at the same versions.
$(VENV)/.dev: requirements/dev.txt $(PROJECTS) | $(BIN)/python
	$(PIP) install --quiet --require-hashes --requirement requirements/dev.txt
	$(PIP) install $(EDITABLE)
	@touch $@ $(VENV)/.runtime
