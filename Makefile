PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# A process for each core, each with one thread: two teams of threads on two cores would slow each other down.
unit contract golden e2e test: export OMP_NUM_THREADS = 1
PYTEST := $(BIN)/pytest --numprocesses 2 --dist loadfile

.PHONY: setup check unit contract golden e2e test docs demo bench clean

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

# The pages of docs/ as a site in build/docs, with the reference made from the code; a warning is an error.
docs: setup
	$(BIN)/python scripts/build_docs.py

demo: setup
	$(BIN)/surpass run chess

# DATA is a folder of published data sets, BENCH more arguments; see docs/benchmarks.md.
bench: setup
	$(BIN)/python benchmarks/bench.py $(if $(DATA),--data "$(DATA)") $(BENCH)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
