# On a fresh machine with Python 3.11 or newer and make, `make quickstart` and `make test` are all that is needed.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: install quickstart test bench soak gpu-evidence lint site

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ue-bench needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

quickstart: install
	$(BIN)/ue-bench run suite=quickstart

test: install
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

bench: install
	$(BIN)/python -m pytest tests/benchmarks --override-ini addopts=

soak: install # hours; what is killed, filled and spoilt: results/soak.md
	$(BIN)/python tests/soak/all.py

minutes ?= 240
gpu-evidence: install # on a machine with a GPU: make gpu-evidence minutes=600; the same command goes on where it stopped
	$(BIN)/python results/gpu_evidence.py minutes=$(minutes)

lint: install
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

site: install # the documents as a site: build/site
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[site]'
	$(BIN)/python docs/site/build.py
