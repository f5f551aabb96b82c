# One place for every command; continuous integration calls the same ones.
PYTHON := .venv/bin/python
N ?= 1

.DEFAULT_GOAL := help
.PHONY: help venv demo test check bench format lock clean

help: ## print this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

venv: ## make or renew .venv (all the others do this by themselves)
	@sh scripts/bootstrap.sh

demo: venv ## run the main job in one process: private database, in-process broker, real files
	@$(PYTHON) examples/backup/demo.py

test: venv ## run every test, against real servers that it starts itself
	@sh scripts/test.sh $(ARGS)

check: venv ## format, lint, types, imports, unit and property tests: under a minute, no servers
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-cache
	@$(PYTHON) -m pytest -q -m "not slow" tests/unit tests/property tests/model tests/contract/test_messages.py

bench: venv ## measure with real servers and one process per actor; make bench N=0.1 does a tenth
	@$(PYTHON) -m benchmarks.run $(N)

format: venv ## put the code into its one form
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

lock: ## renew the hashed requirements from pyproject.toml
	@sh scripts/lock.sh

clean: ## remove what was built, with .venv
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
