# `make` alone prints the targets. Everything goes into .venv and .tools of this checkout.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-builtin-rules

# The caller's own Python environment is no concern of ours.
unexport VIRTUAL_ENV PYTHONHOME PYTHONPATH CONDA_PREFIX UV_PROJECT_ENVIRONMENT

BIN := .venv/bin
# Tests wait more than they compute: one more process than there are cores.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
STAMP := .venv/.installed
PYENV_PYTHONS := "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/*/bin
# Output of the installation goes to stderr: `serve` speaks its protocol on stdout.
SAY := >&2

.PHONY: help
help: ## Print the targets
	@grep -hE '^[a-z]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z]+):.*## /\1\t/' | \
		while IFS="$$(printf '\t')" read -r name text; do printf '  make %-9s %s\n' "$$name" "$$text"; done

.PHONY: install
install: $(STAMP) ## Install everything into .venv, at most once per change of the lock

.PHONY: demo
demo: $(STAMP) ## Start a real server and do the main job on all three engines
	@$(BIN)/mahavishnu-sched-mcp demo

.PHONY: serve
serve: $(STAMP) ## Serve MCP over stdio from this checkout
	@exec $(BIN)/mahavishnu-sched-mcp serve

.PHONY: check
check: $(STAMP) ## Format, lint, types, import contracts, sizes and the fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest -n $(WORKERS) --maxschedchunk 1 -m "not slow"

.PHONY: test
test: $(STAMP) ## All tests but the benchmarks
	$(BIN)/pytest -n $(WORKERS) --maxschedchunk 1

.PHONY: soak
soak: $(STAMP) ## The fault tests in full, the better part of an hour
	MAHAVISHNU_SOAK=1 $(BIN)/pytest -n $(WORKERS) --maxschedchunk 1 tests/faults

.PHONY: format
format: $(STAMP) ## Format the code and mend what the linter can
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

.PHONY: lint
lint: $(STAMP) ## Lint, and check the import contracts
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache

.PHONY: types
types: $(STAMP) ## Check the types
	$(BIN)/mypy

.PHONY: bench
bench: $(STAMP) ## Measure, and print the figures
	unset PYTHONDONTWRITEBYTECODE; $(BIN)/python -m tests.benchmarks

.PHONY: docs
docs: $(STAMP) ## Write the generated pages of docs/reference anew
	$(BIN)/python -m mahavishnu_sched_mcp.settings.reference .
	if [ -f tests/reference.py ]; then $(BIN)/python -m tests.reference; fi

.PHONY: snapshot
snapshot: $(STAMP) ## Write the snapshot of the tools anew
	MAHAVISHNU_WRITE_SNAPSHOT=1 $(BIN)/pytest -q tests -k snapshot

.PHONY: lock
lock: .tools/python ## Resolve the dependencies anew into requirements.lock
	uv="$$(cat .tools/uv)"; "$$uv" lock --python "$$(cat .tools/python)"; \
	printf '%s\n' '# Made by `make lock`: every platform, every hash.' > .tools/requirements.lock; \
	"$$uv" export --quiet --python "$$(cat .tools/python)" --all-extras --all-groups --no-emit-project \
		--no-header --format requirements-txt >> .tools/requirements.lock; \
	mv .tools/requirements.lock requirements.lock

.PHONY: clean
clean: ## Remove what was installed and built
	rm -rf .venv .tools .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis \
		.coverage htmlcov dist build

$(STAMP): requirements.lock pyproject.toml .tools/python
	@uv="$$(cat .tools/uv)"; python="$$(cat .tools/python)"; export UV_LINK_MODE="$${UV_LINK_MODE:-copy}"; \
	{ [ -x $(BIN)/python ] && $(BIN)/python -c 'import sys; raise SystemExit(sys.version_info[:2] != (3, 13))'; } \
		|| "$$uv" venv --quiet --clear --python "$$python" .venv 2> .tools/venv.log \
		|| { rm -f .tools/python; echo 'Python 3.13 is needed: install it with `pyenv install 3.13`, your package manager, or from python.org.' $(SAY); exit 1; }; \
	"$$uv" pip sync --quiet --compile-bytecode --require-hashes --python $(BIN)/python requirements.lock $(SAY); \
	"$$uv" pip install --quiet --no-deps --python $(BIN)/python -e . $(SAY); \
	touch $@

# The path of uv: the caller's, else one of our own in .tools, made with any Python from 3.11 on.
.tools/uv:
	@mkdir -p .tools; \
	if command -v uv > /dev/null && uv --version > /dev/null 2>&1; then command -v uv > $@; exit; fi; \
	for python in python3.14 python3.13 python3.12 python3.11 python3 \
			$$(ls -d $(PYENV_PYTHONS) 2> /dev/null | sed 's|$$|/python3|'); do \
		"$$python" -c 'import sys, ensurepip, venv; raise SystemExit(sys.version_info < (3, 11))' > /dev/null 2>&1 || continue; \
		"$$python" -m venv --clear .tools/venv $(SAY) || continue; \
		.tools/venv/bin/python -m pip install --quiet --disable-pip-version-check uv $(SAY); \
		echo .tools/venv/bin/uv > $@; exit; \
	done; \
	echo 'Python 3.13 is needed: install it with `pyenv install 3.13`, your package manager, or from python.org.' $(SAY); exit 1

# What uv is to make the environment with: a Python 3.13 found here, else "3.13", which it fetches.
.tools/python: .tools/uv
	@for python in python3.13 python3 $$(ls -d $(PYENV_PYTHONS) 2> /dev/null | sed 's|$$|/python3.13|'); do \
		found="$$("$$python" -c 'import sys; print(sys.executable) if sys.version_info[:2] == (3, 13) else sys.exit(1)' 2> /dev/null)" || continue; \
		echo "$$found" > $@; exit; \
	done; \
	echo 3.13 > $@
