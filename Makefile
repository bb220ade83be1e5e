# make demo and make test include the set-up, on a fresh machine with Python 3.11.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP = $(BIN)/pip install --quiet --disable-pip-version-check --no-deps
DEMO := demo
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

.PHONY: demo test test-all check docs format clean

demo: .venv/installed  ## phantom, training, evaluation, report, prediction; prints the paths of the results
	$(BIN)/python experiments/demo.py $(DEMO)

test: check  ## linters, types, import rules, and all quick tests
	$(PYTEST)

test-all: check  ## the slow tests too
	$(PYTEST) -m "slow or not slow"

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/installed  ## the documentation as a site in site/, without network
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv $(DEMO) site

.venv/installed: $(wildcard requirements*.lock) pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) --require-hashes -r requirements.lock
	$(PIP) --require-hashes -r requirements-cpu.lock 2>/dev/null || $(PIP) --require-hashes -r requirements-cuda.lock
	$(PIP) --no-build-isolation -e .
	touch $@
