# Everything that this project does starts here; `make help` lists it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
UV := uv==0.13.8
REDOCLY := @redocly/cli@2.77.0
# Many tests start processes: without bytecode each of them would compile the package again.
export PYTHONDONTWRITEBYTECODE :=
# The extras that the programs in examples/ use.
EXAMPLES_EXTRAS := django,emulator,fastapi,otel,outbox
# The generator needs Python 3.11, so its code is checked as code for 3.11.
PY311 := --python-version 3.11

.DEFAULT_GOAL := help
# Every target that `make help` lists: none of them is a file.
.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*## .*/\1/p' Makefile)

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "kraty-admin needs Python 3.10 or later: make PYTHON=/path/to/python3 ...")'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check '$(UV)'

$(VENV)/.runtime: pyproject.toml | $(BIN)/uv
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[emulator]'
	@touch $@

# Not isolated: an isolated build would fetch a backend whose hash nobody has recorded.
$(VENV)/.dev: pyproject.toml requirements-dev.lock | $(BIN)/uv
	@$(BIN)/uv pip install --quiet --python $(BIN)/python \
		--require-hashes --requirement requirements-dev.lock
	@$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python --editable .
	@touch $@ $(VENV)/.runtime

setup: $(VENV)/.dev ## install everything into .venv

demo: $(VENV)/.runtime ## a purchase against a local Kraty
	@$(BIN)/python examples/purchase_flow.py

demo-console: $(VENV)/.runtime ## the same, and keep the local Kraty running for a look in a browser
	@$(BIN)/python examples/purchase_flow.py --keep-open

test: $(VENV)/.dev ## the tests, on one Python, without those that take long
	@$(BIN)/python -m pytest --numprocesses 2 -m 'not long'

# Only their files: each process would take seconds to collect the others.
LONG = $(shell grep --recursive --files-with-matches --include='*.py' 'pytest.mark.long' tests)

test-long: $(VENV)/.dev ## the tests that take long: small proofs, type checkers, browsers, pytest in pytest
	@$(BIN)/python -m pytest --numprocesses 2 -m long $(LONG)

coverage: $(VENV)/.dev ## fail if no test reaches a line or branch of src/, and list them; takes some ten minutes
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest --numprocesses 2
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

check: lint types check-drift lint-contract docs ## everything that CI checks, except the tests

lint: $(VENV)/.dev ## ruff, the layers of imports, and the changelog's fragments
	@if command -v $(BIN)/lint-imports >/dev/null; then $(BIN)/lint-imports; \
		else echo 'SKIPPED lint-imports: it needs Python 3.11'; fi
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/towncrier build --draft --version next >/dev/null

format: $(VENV)/.dev ## lay out the code with ruff, and apply its fixes
	@$(BIN)/ruff check --fix-only
	@$(BIN)/ruff format

types: $(VENV)/.dev ## mypy and pyright, both strict
	@$(BIN)/mypy
	@if $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; \
		then $(BIN)/mypy $(PY311) codegen tests/codegen/*.py tests/proofs/contract.py; \
		else echo 'SKIPPED mypy on codegen/ and its like: they need Python 3.11'; fi
	@if command -v node >/dev/null; then $(BIN)/pyright --warnings; \
		else echo 'SKIPPED pyright: it needs Node'; fi

check-drift: $(VENV)/.dev ## fail if contract, surface, generated code or emulator have drifted apart
	@$(BIN)/python codegen/generate.py --check

lint-contract: $(VENV)/.dev ## fail if the contract is not valid OpenAPI
	@$(BIN)/python codegen/adopt.py openapi.server.json
	@if command -v npx >/dev/null; then npx --yes $(REDOCLY) lint openapi.server.json; \
		else echo 'SKIPPED redocly lint: it needs Node'; fi

matrix: $(VENV)/.dev ## build sdist and wheel once, and test both on each installed Python
	@$(BIN)/python .ci/matrix.py

lock: $(BIN)/uv ## record the versions and hashes of all that `make setup` installs; UPGRADE=1 for newer ones
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-annotate --no-header \
		--all-extras --group dev --no-emit-package kraty-admin $(if $(UPGRADE),--upgrade) \
		pyproject.toml --output-file requirements-dev.lock

changelog: $(VENV)/.dev ## move the fragments of changes/ into CHANGELOG.md, under VERSION=...
	@$(BIN)/towncrier build --yes --version '$(or $(VERSION),$(error VERSION=... is missing))'

release: $(VENV)/.dev ## check, build and hash a release into dist/; it stops before publishing
	@$(BIN)/python tools/release.py

regen: $(VENV)/.dev ## regenerate; SPEC=<path or URL> adopts another contract first
	@$(BIN)/python codegen/generate.py $(if $(SPEC),--spec '$(SPEC)')

surface: $(VENV)/.dev ## record the public surface, after a change to it that is intended
	@cd tests && $(abspath $(BIN))/python -m surface

compare: $(VENV)/.dev ## list what changed from OLD to NEW, and what of it breaks callers; MARKDOWN=1 for a review
	@PYTHONPATH=codegen $(BIN)/python -m compare '$(OLD)' '$(NEW)' $(if $(MARKDOWN),--markdown)

prove: $(VENV)/.dev ## measure the promise under faults, kills, forks and an outage
	@cd tests && $(abspath $(BIN))/python -m proofs

$(VENV)-examples/.done: examples/requirements.txt pyproject.toml | $(BIN)/uv
	@$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python $(VENV)-examples
	@$(BIN)/uv pip install --quiet --python $(VENV)-examples/bin/python \
		--requirement examples/requirements.txt --editable '.[$(EXAMPLES_EXTRAS)]'
	@touch $@

EXAMPLES_PYTHON := $(abspath $(VENV))-examples/bin/python
EXAMPLES = $(sort $(dir $(wildcard examples/$(or $(EXAMPLE),*)/test_*.py)))

# Each folder in its own process: frameworks keep their settings in module globals.
examples: $(VENV)/.dev $(VENV)-examples/.done ## check the programs in examples/, and run their tests; EXAMPLE=<folder> for one
	@$(if $(EXAMPLES),,$(error examples/$(EXAMPLE) has no test_*.py)) \
	failed=; \
	for folder in $(EXAMPLES); do \
		echo "== $$folder"; \
		(cd $$folder \
			&& $(abspath $(BIN))/mypy --strict --config-file= --python-executable $(EXAMPLES_PYTHON) . \
			&& $(EXAMPLES_PYTHON) -m pytest -c ../pytest.ini --rootdir .) || failed="$$failed $$folder"; \
	done; \
	test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

# Compiled, so that no measured import compiles.
$(VENV)-bench/.done: benchmarks/requirements.txt pyproject.toml | $(BIN)/uv
	@$(BIN)/uv venv --quiet --clear $(VENV)-bench
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(VENV)-bench/bin/python \
		--requirement benchmarks/requirements.txt --editable .
	@touch $@

$(VENV)-docs/.done: pyproject.toml | $(BIN)/uv
	@$(BIN)/uv venv --quiet --clear $(VENV)-docs
	@$(BIN)/uv pip install --quiet --python $(VENV)-docs/bin/python --group docs
	@touch $@

docs: $(VENV)-docs/.done ## build the pages of docs/ into site/, to be read without a network
	@NO_COLOR=1 $(VENV)-docs/bin/zensical build --clean --strict
	@$(VENV)-docs/bin/python tools/check_site.py

pictures: $(VENV)/.dev ## draw the diagrams of the pages again, after a change to tools/pictures.py or the layers
	@$(BIN)/python tools/pictures.py

recording: $(VENV)/.dev ## record the terminal of docs/terminal.svg again
	@$(BIN)/python tools/terminal.py

bench: $(VENV)-bench/.done ## cost of a call beside that of others, as ratios; OUT=<folder> for JSON and a plot
	@$(VENV)-bench/bin/python benchmarks $(if $(OUT),--out '$(OUT)')

bench-emulator: $(VENV)/.dev ## cost of the emulator, as ratios; fails above a target
	@$(BIN)/python benchmarks/emulator_costs.py

bench-import: $(VENV)/.dev ## imports: next to a loop, killed and resumed, a million rows, on two workers
	@cd tests && $(abspath $(BIN))/python -m proofs.imports

bench-outbox: $(VENV)/.dev ## the outbox: beside a plain call, with more workers, with a million finished rows
	@cd tests && $(abspath $(BIN))/python -m proofs.costs

bench-check: $(VENV)-bench/.done ## fail on a performance regression, with room for noise
	@$(VENV)-bench/bin/python benchmarks --check
