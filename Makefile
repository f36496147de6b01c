# Every target sets up what it needs: `make demo` and `make test` work on a machine that has only make and
# Python 3.11 or newer. `make PYTHON=/path/to/python3.12 test` picks another interpreter.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
EXTRAS := dev,graph,mmseqs2

# The first of these that is new enough; a shim that is on PATH but does not start is passed over.
PYTHON ?= $(shell for p in python3 python3.12 python3.13 python3.11 python3.14 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-extras lint format bench clean
.DELETE_ON_ERROR:

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(VENV)/.installed  ## Make .venv with the package and the pinned versions of all it needs

demo: setup  ## Cluster the ten bundled families and report
	@$(BIN)/seqscan demo

test: lint  ## Lint, type-check, check the imports and run the tests
	@echo "pytest" && $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

test-extras: setup  ## Install the extras for language models and Ray, and run their tests
	@$(PIP) install --constraint constraints.txt --no-build-isolation --editable '.[$(EXTRAS),lm,ray]'
	@$(BIN)/python -m pytest tests/unit/test_language_model.py tests/distributed/test_ray.py

lint: setup  ## Check style, format, types and the direction of the imports
	@echo "ruff check" && $(BIN)/ruff check .
	@echo "ruff format" && $(BIN)/ruff format --check .
	@echo "mypy" && $(BIN)/mypy
	@echo "lint-imports" && $(BIN)/lint-imports --no-cache >$(VENV)/imports.log || \
		{ cat $(VENV)/imports.log; exit 1; }

format: setup  ## Rewrite the sources in the project's format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: setup  ## Measure the figures that the documents state
	@$(BIN)/python benchmarks/main_job.py

clean:  ## Remove .venv, caches and build output
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps make a second call instant: the environment is made again only when the pins or the project's
# own list of dependencies change.
$(VENV)/.made:
	@test -n "$(PYTHON)" || { \
		echo "seqscan needs Python 3.11 or newer, and none was found on PATH." >&2; \
		echo "Install one, or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit( \
		"seqscan needs Python 3.11 or newer, $(PYTHON) is %d.%d." % v[:2])'
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear $(VENV) || { \
		echo "The venv module failed; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@touch $@

$(VENV)/.installed: $(VENV)/.made constraints.txt pyproject.toml
	@echo "Installing the pinned dependencies (some minutes the first time)"
	@$(PIP) install --constraint constraints.txt hatchling editables
	@$(PIP) install --constraint constraints.txt --no-build-isolation --editable '.[$(EXTRAS)]'
	@touch $@
