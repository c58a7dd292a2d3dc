# Everything a person needs is here; `make help` lists it. Only python3 (3.11 or newer) and make are asked for.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
ARGS   ?=
# Three at a time on two cores: they often wait. By files, so that what a file starts is started once.
SIDE_BY_SIDE = -n $${TEST_JOBS:-3} --dist loadfile --no-loadscope-reorder

# Where that is set, each worker would compile all tests anew in each run.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install run test quick heavy check fix bench lock wheel extension clean

help: ## show this list
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.installed: requirements.lock pyproject.toml extension/fingerprint.json
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python3 cannot make environments here: install python3-venv."; exit 1; }
	@echo "Installing into $(VENV) (about two minutes the first time) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

install: $(VENV)/.installed ## install everything, pinned by hash, into .venv

run: install ## start proxy and JupyterLab with made-up data: no key needed (ARGS="--port 9000" and the like)
	$(BIN)/ultimate-proxy up --demo --lab --open $(ARGS)

test: install ## the whole suite but the heavy fault tiers
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not heavy" $(ARGS)

quick: install ## the tests that take seconds
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not heavy and not slow" $(ARGS)

heavy: install ## the fault and load tiers in full; up to an hour
	$(BIN)/python -m pytest -m heavy $(ARGS)

check: install ## lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: install ## format, and mend what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install ## all benchmarks, quick form (ARGS="" for the full form: see tests/bench)
	$(BIN)/python -m tests.bench.gateway --quick $(ARGS)
	$(BIN)/python -m tests.bench.lake --quick $(ARGS)
	$(BIN)/python -m tests.bench.workbench --quick $(ARGS)
	$(BIN)/python -m tests.bench.sign_in
	$(BIN)/python -m tests.bench.access --quick
	$(BIN)/python -m tests.bench.limits --quick

lock: install ## resolve requirements.lock anew from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --extra lab --extra voila --extra reports --extra dev --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header --quiet --upgrade --output-file requirements.lock

wheel: install ## build the wheel into dist/
	$(BIN)/python -m hatchling build --target wheel

extension: install ## build the JupyterLab extension anew after a change of its TypeScript (needs Node 20)
	cd extension && PATH="$(CURDIR)/$(BIN):$$PATH" jlpm install --immutable
	cd extension && PATH="$(CURDIR)/$(BIN):$$PATH" jlpm build:prod
	$(BIN)/python extension/scripts/fingerprint.py

clean: ## remove what was built; data folders are elsewhere and stay
	rm -rf $(VENV) dist build extension/node_modules extension/lib .mypy_cache .ruff_cache .import_linter_cache
