# Everything a clone needs: `make demo`, `make test`. PYTHON may name another interpreter (3.11 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
COMPILE := $(BIN)/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-header --no-annotate \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options

.DEFAULT_GOAL := help
.PHONY: help install demo test check bench faults lock clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## Fill .venv from the lock file; done once

# An environment whose installation broke off is made anew; a whole one is brought up to date.
$(STAMP): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("fhir-broker needs Python 3.11 or newer: make PYTHON=python3.11 ..." if sys.version_info < (3, 11) else 0)'
	@echo "installing into $(VENV) (once; about a minute)"
	@test -f $@ || $(PYTHON) -m venv --clear $(VENV)
	@rm -f $@
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

demo: install ## Watch the whole road on this machine
	@$(BIN)/fhir-broker demo

test: install ## Run the tests
	@scripts/test

check: install ## Format, lint, types, import contracts
	@scripts/check

bench: install ## Measure, as ratios in one run
	@$(BIN)/python -m bench

faults: install ## Break everything under load; the report is docs/reliability.md
	@$(BIN)/python -m tests.faults --report docs/reliability.md

lock: install ## Resolve the lock files anew
	@$(PIP) install pip-tools
	@$(COMPILE) --build-deps-for wheel --output-file requirements.lock pyproject.toml
	@$(COMPILE) --build-deps-for wheel --extra dev --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml

clean: ## Remove what was installed and cached
	@rm -rf $(VENV) *.egg-info build faults-failed .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
