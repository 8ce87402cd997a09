# Everything that this project does starts here; `make help` lists it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
UV := uv==0.13.8

.DEFAULT_GOAL := help
.PHONY: help setup demo test

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "kraty-admin needs Python 3.10 or later: make PYTHON=/path/to/python3.x")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check '$(UV)'

$(VENV)/.runtime: pyproject.toml | $(BIN)/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[emulator]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[emulator]' --group dev
	@touch $@ $(VENV)/.runtime

setup: $(VENV)/.dev ## install everything into .venv

test: $(VENV)/.dev ## run every test
	$(BIN)/python -m pytest
