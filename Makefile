# edgekit: short names for the commands that everyone types. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.edgekit-stamp
# Native libraries stay quiet: no telemetry, no banners (edgekit/settings.py says where each was seen).
export ORT_DISABLE_TELEMETRY := 1
export TF_CPP_MIN_LOG_LEVEL := 3
# Where it is set, every process compiles edgekit again: 1 of the 2 s of processor time that the imports of
# `edgekit release` take. Containers set it often; the tests start hundreds of processes.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test lint docs models benchmarks clean

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 20

setup: $(STAMP) ## make or refresh .venv with everything (quick when nothing changed)

$(STAMP): pyproject.toml constraints.txt
	@echo "setup: $(VENV) (first time: a few minutes; torch and TensorFlow are in it for tests and demo)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt "pip>=25.1"
	@# torch first and exactly: an unpinned "torch" would pull several GB of GPU packages
	@$(BIN)/python -m pip install --quiet -c constraints.txt "$$(grep '^torch==' constraints.txt)"
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[all]" --group test --group dev
	@touch $(STAMP)

demo: setup ## the whole job on two models of real handwritten digits; leaves dist/
	@$(BIN)/edgekit release models/digits_cnn/edgekit.toml -o dist/
	@$(BIN)/edgekit release models/digits_keras/edgekit.toml -o dist/

test: setup ## the whole test suite, lint, types and import contracts included
	@$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder

lint: setup ## ruff, mypy strict, import contracts (also part of make test)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

docs: setup ## write docs/cli.md and docs/recipe.md again from the commands and the schema
	@$(BIN)/python docs/generate.py

models: setup ## measure every reference model on every target; writes the table in models/README.md
	@$(BIN)/python models/table.py

benchmarks: setup ## all benchmarks; results go to benchmarks/results/
	@$(BIN)/python -m benchmarks

clean: ## remove build outputs (not the environment, not the cache)
	@rm -rf dist build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
