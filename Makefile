# make run    start bridgebot from this folder (ARGS="--irc irc.example.org/#garden" adds a channel)
# make test   install what the tests need, then lint, types, import rules and all tests
# make bench  measure; make faults  kill and cut things for a long time; make clean  remove what was made, not ./data
# make fidelity, make golden  write again what works where (docs/fidelity.md) and what others read (tests/cross/golden)

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

export PATH := $(PATH):/usr/sbin:/sbin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

BIN := .venv/bin
ARGS ?=
CANDIDATES := /usr/bin/python3 python3.13 python3.12 python3.11 python3
# PYTHON=/path/to/python3 chooses another one.
PYTHON ?= $(shell for p in $(CANDIDATES); do \
  "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v "$$p" && break; done)

# $(call as_root,COMMAND): run it as root, or fail.
as_root = if [ "$$(id -u)" = 0 ]; then $(1); else sudo -n $(1); fi
# $(call debian,PACKAGES): install them, or fail where that is not possible.
debian = command -v apt-get >/dev/null && { [ "$$(id -u)" = 0 ] || sudo -n true 2>/dev/null; } && \
  $(call as_root,apt-get update -qq) && \
  $(call as_root,env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(1)) >/dev/null

.PHONY: help
help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

.PHONY: run
run: .venv/.installed
	@exec $(BIN)/bridgebot run --data ./data $(ARGS)

.venv/bin/python:
	@if [ -z "$(PYTHON)" ]; then \
	  echo "bridgebot needs Python 3.11 or newer. Install it: apt-get install python3 (Debian 12, Ubuntu 24.04 or" >&2; \
	  echo "newer), brew install python@3.12 (macOS); or say where it is: make PYTHON=/path/to/python3" >&2; exit 1; fi
	@rm -rf .venv
	@if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo "Installing python3-venv ..." >&2; \
	  $(call debian,python3-venv) || { \
	    echo "$(PYTHON) cannot make virtual environments. Install the package python3-venv." >&2; exit 1; }; fi
	@$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

.venv/.installed: .venv/bin/python pyproject.toml constraints.txt
	@echo "Installing bridgebot into .venv (only the first time) ..." >&2
	@$(BIN)/python -m pip install --quiet -e '.[all]' -c constraints.txt
	@touch $@

.venv/.installed-test: .venv/.installed
	@echo "Installing the test tools into .venv ..." >&2
	@$(BIN)/python -m pip install --quiet -e '.[all,test]' -c constraints.txt
	@touch $@

# The Matrix homeserver that the tests talk to, with dependencies of its own.
.venv-synapse/.installed: .venv/bin/python
	@echo "Installing Synapse into .venv-synapse (only the first time) ..." >&2
	@rm -rf .venv-synapse
	@$(BIN)/python -m venv .venv-synapse
	@.venv-synapse/bin/python -m pip install --quiet --only-binary :all: 'matrix-synapse>=1.150'
	@touch $@

# The identity provider that people of a company sign in with, in the tests: for the same reason, and because its
# package brings a top-level module named like our tests.
.venv-canaille/.installed: .venv/bin/python
	@echo "Installing Canaille into .venv-canaille (only the first time) ..." >&2
	@rm -rf .venv-canaille
	@$(BIN)/python -m venv .venv-canaille
	@.venv-canaille/bin/python -m pip install --quiet --only-binary :all: 'canaille[front,oidc]==0.3.6'
	@touch $@

# Servers and the browser that the tests talk to. A test whose server is missing fails.
.PHONY: servers
servers:
	@missing=""; \
	for name in inspircd ngircd prosody redis-server; do command -v $$name >/dev/null || missing="$$missing $$name"; done; \
	command -v chromium >/dev/null || missing="$$missing chromium"; \
	if [ -n "$$missing" ]; then \
	  echo "Installing$$missing ..." >&2; \
	  $(call debian,$$missing) || { \
	    echo "The tests need these programs:$$missing" >&2; \
	    echo "Debian, Ubuntu: sudo apt-get install$$missing" >&2; \
	    echo "macOS: brew install inspircd ngircd prosody redis; brew install --cask chromium" >&2; exit 1; }; fi

.PHONY: test
test: .venv/.installed-test .venv-synapse/.installed .venv-canaille/.installed servers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

.PHONY: bench
bench: .venv/.installed-test servers
	$(BIN)/python -m bench $(ARGS)

.PHONY: faults
faults: .venv/.installed-test servers
	$(BIN)/python -m tests.faults $(ARGS)

.PHONY: fidelity
fidelity: .venv/.installed-test .venv-synapse/.installed servers
	BRIDGEBOT_WRITE_FIDELITY=1 $(BIN)/python -m pytest -q tests/contract/test_fidelity.py -k page

.PHONY: golden
golden: .venv/.installed-test .venv-synapse/.installed servers
	BRIDGEBOT_WRITE_GOLDEN=1 $(BIN)/python -m pytest -q tests/cross

.PHONY: clean
clean:
	rm -rf .venv .venv-synapse .venv-canaille build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
