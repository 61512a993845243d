# What a clone needs: `make demo`, `make test`. PYTHON may name another interpreter (3.11 or newer).
PYTHON ?= python3
COVERAGE ?= 1
SECONDS ?= 60
SOAK_MINUTES ?= 30
MUTANTS ?= 10000
SKIPPED := 77
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
COMPILE := $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --no-header --no-annotate \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options

.DEFAULT_GOAL := help
.PHONY: help install demo test check bench faults soak readings validate keycloak hapi fuzz mutants audit docs wheel reference sbom lock clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## Install the locked dependencies into .venv

# Creates the environment again if an installation was interrupted; otherwise brings it up to date.
$(STAMP): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("fhir-broker needs Python 3.11 or newer: make PYTHON=python3.11 ..." if sys.version_info < (3, 11) else 0)'
	@echo "installing into $(VENV) (once; about a minute)"
	@test -f $@ || $(PYTHON) -m venv --clear $(VENV)
	@rm -f $@
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

demo: install ## Show the whole path of a reading on this machine
	@$(BIN)/fhir-broker demo

test: install ## Run the tests and report branch coverage; COVERAGE=0 runs them alone, in about half the time
	@COVERAGE=$(COVERAGE) scripts/test

check: install ## Check format, lint, types and import contracts
	@scripts/check

bench: install ## Measure performance, as ratios within one run
	@$(BIN)/python -m bench

faults: install ## Run the fault campaign and write docs/reliability.md
	@$(BIN)/python -m tests.faults --report docs/reliability.md

soak: install ## Keep a broker busy for SOAK_MINUTES=30, check that nothing grows, and write docs/reliability.md
	@$(BIN)/python -m tests.soak --minutes $(SOAK_MINUTES) --report docs/reliability.md

readings: install ## Run the readings campaign: 1,000 devices by MQTT and HTTP, the broker killed twice
	@$(BIN)/python -m tests.readings

validate: install ## Have HL7's validator judge what the broker says, and HAPI's client use it; needs a JDK and Maven
	@$(BIN)/python -m tests.validation $(if $(DEFINITIONS),--definitions $(DEFINITIONS)) || test $$? -eq $(SKIPPED)

keycloak: install ## Have a real Keycloak issue tokens for a broker; needs a JDK and Maven, downloads 160 MB
	@$(BIN)/python -m tests.keycloak || test $$? -eq $(SKIPPED)

hapi: install ## Have the broker write to a HAPI FHIR JPA server as the EHR; needs a JDK and Maven, downloads 200 MB
	@$(BIN)/python -m tests.hapi || test $$? -eq $(SKIPPED)

fuzz: install ## Fuzz what reads text from outside, SECONDS=60 in all; needs a wheel of atheris for this machine
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(PIP) install --only-binary :all: --require-hashes -r requirements-fuzz.lock \
		|| echo "atheris could not be installed: it has wheels for Linux on x86-64 only"
	@$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(TARGETS) || test $$? -eq $(SKIPPED)

mutants: install ## Send MUTANTS=10000 mutated documents through the API; none may fail or take a second
	@$(BIN)/python -m tests.fuzz.mutants $(MUTANTS)

audit: install ## Look up known vulnerabilities of what is locked; fails if one can't be looked up
	@$(BIN)/pip-audit --strict --disable-pip --require-hashes --progress-spinner off -r requirements.lock -r requirements-hsm.lock

docs: install ## Build the documentation site, check its links, and write it to broker/site.zip
	@$(BIN)/python -m scripts.docs_site

reference: install ## Write the reference pages of docs/ from the code
	@$(BIN)/python -m scripts.reference

wheel: docs ## Build a wheel with the documentation site, in dist/
	@$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist .
	@rm -rf build

sbom: install ## Write the SBOM of the installed dependencies, CycloneDX, to dist/
	@$(PYTHON) -m venv --clear .venv-sbom
	@.venv-sbom/bin/python -m pip --quiet --disable-pip-version-check install --require-hashes -r requirements.lock
	@.venv-sbom/bin/python -m pip --quiet --disable-pip-version-check install --no-deps --no-build-isolation .
	@.venv-sbom/bin/python -m pip --quiet uninstall --yes setuptools pip
	@$(BIN)/python scripts/sbom .venv-sbom/bin/python

lock: install ## Update the lock files
	@$(PIP) install pip-tools
	@$(COMPILE) --strip-extras --build-deps-for wheel --output-file requirements.lock pyproject.toml
	@# extras stay: without them pip looks at the newest version of `coverage[toml]` before the locked one
	@$(COMPILE) --no-strip-extras --build-deps-for wheel --extra dev --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml
	@$(BIN)/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['fuzz'], sep='\n')" \
		| $(COMPILE) --output-file requirements-fuzz.lock -
	@$(BIN)/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['hsm'], sep='\n')" \
		| $(COMPILE) --output-file requirements-hsm.lock -

clean: ## Remove the environment and all caches
	@rm -rf $(VENV) .venv-sbom dist broker/site.zip *.egg-info build faults-failed fuzz-failed .mypy_cache .ruff_cache .pytest_cache .coverage .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
