# `make run` starts the product, `make test` runs all tests. Everything else is below.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= ./data
ARGS ?=

.PHONY: run test bench faults lint clean

run: $(VENV)/installed
	@$(BIN)/bridgebot run --data "$(DATA)" $(ARGS)

test: $(VENV)/installed-for-tests
	@sh tests/servers/install.sh
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n 2 --dist loadgroup

bench: $(VENV)/installed-for-tests
	@sh tests/servers/install.sh
	$(BIN)/python -m bench $(ARGS)

faults: $(VENV)/installed-for-tests
	$(BIN)/python -m tests.faults $(ARGS)

lint: $(VENV)/installed-for-tests
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) build dist *.egg-info

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "bridgebot needs Python 3.11 or newer. Say which one: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "Python cannot make virtual environments here. On Debian: apt-get install python3-venv"; exit 1; }

$(VENV)/installed: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing what bridgebot needs (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/installed-for-tests: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing what the tests need (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,test]'
	@touch $(VENV)/installed $@
