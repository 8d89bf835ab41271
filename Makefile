PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# A process for each core, each with one thread: two teams of threads on two cores would slow each other down.
unit contract golden e2e test: export OMP_NUM_THREADS = 1
PYTEST := $(BIN)/pytest --numprocesses 2 --dist loadfile

.PHONY: setup check unit contract golden e2e test demo clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit contract golden e2e: setup
	$(PYTEST) tests/$@

test: setup check
	$(PYTEST) tests

demo: setup
	$(BIN)/surpass run chess

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
