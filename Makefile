# The five verbs of this repository. `make help` lists them from their own comments.
PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3.11)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
export PYTHONDONTWRITEBYTECODE :=
export DO_NOT_TRACK := 1
.DEFAULT_GOAL := help
.PHONY: help install demo test soak test-long check format docs findings lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

install: $(READY) ## Make .venv from requirements.lock (hashes checked) and install the `searchflow` command

$(READY): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed as '$(PYTHON)'. Name yours: make install PYTHON=/path/to/python3.11" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "$(PYTHON) is not Python 3.11. Name one: make install PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo "Making $(VENV) (about 200 packages; the first time takes a minute or two)" >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m pip check >/dev/null
	@$(BIN)/python -m compileall -q $(VENV)/lib searchflow generators activations expectations dashboards flows benchmarks || true
	@touch $@

demo: $(READY) ## The whole platform once, from nothing: see what it does in about a minute
	@$(BIN)/searchflow demo

test: $(READY) ## All tests but the long ones, on real embedded servers in temporary folders
	$(BIN)/sqlmesh --ignore-warnings test
	$(BIN)/python -m pytest -n 2 --dist loadfile

soak: $(READY) ## Four minutes of a working day of `searchflow up`: every alarm must be true (docs/reference/soak.md)
	$(BIN)/python -m tests.chaos.soak --minutes 4

test-long: $(READY) ## What `make test` runs a few of: kills, planted faults and histories by the hundred; thirty minutes of soak
	$(BIN)/python -m pytest -n 2 --dist loadfile -m long
	$(BIN)/python -m pytest tests/models_truth --hypothesis-profile=thorough --timeout=3600
	$(BIN)/python -m tests.chaos.soak --minutes 30

check: $(READY) ## Lint, types, SQLMesh linter and formats, that docs and code agree, plain English, and known security holes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/sqlmesh --ignore-warnings lint
	$(BIN)/sqlmesh format --check
	$(BIN)/python -m searchflow.devtools.docs
	$(BIN)/python -m searchflow.devtools.words
	$(BIN)/python -m searchflow.devtools.known_holes

format: $(READY) ## Format Python and models
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/sqlmesh format

docs: $(READY) ## Write the generated tables of the docs, and check every command, path, setting and model in them
	$(BIN)/python -m searchflow.devtools.docs --write

findings: ## Show that each surprise in findings/ is still one; installs packages into temporary folders
	@failed=0; for script in findings/*.sh; do echo "== $$script"; PYTHON=$(PYTHON) bash $$script || failed=1; done; exit $$failed

lock: $(READY) ## Compile requirements.lock again from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --extra dev --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --strip-extras --quiet --output-file requirements.lock

clean: ## Remove the environment and caches; data in .searchflow stays
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache *.egg-info
