# Every check is defined here once: the same target runs by hand, in CI and in a hook.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

PYTHON ?= python3
BIN := .venv/bin
# An installed uv is used; where there is none, its hashed release is put into .uv/.
UV ?= $(or $(shell command -v uv),.uv/bin/uv)
export UV

PYTHON_FOLDERS := proto server training client tests benchmarks

.PHONY: help
help: ## Say what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: .venv/.ready ## Make .venv, with every command in .venv/bin

.uv/bin/uv: requirements/uv.txt
	$(PYTHON) -m venv .uv
	.uv/bin/python -m pip install --quiet --require-hashes --requirement requirements/uv.txt
	touch $@

.venv/.ready: requirements/dev.txt proto/pyproject.toml server/pyproject.toml training/pyproject.toml client/pyproject.toml | $(filter .uv/bin/uv,$(UV))
	test -x $(BIN)/python || $(UV) venv --quiet --python '>=3.11' .venv
	$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements/dev.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation \
	  --editable proto --editable server --editable training --editable client
	touch $@

.PHONY: demo
demo: setup ## Train on the bundled digits, export, serve, ask, and leave a picture
	PATH="$(CURDIR)/$(BIN):$$PATH" docs/demo.sh

.PHONY: test
test: setup ## Run the tests, with a real server on a free port
	$(BIN)/python -m pytest $(TESTS)

.PHONY: test-full
test-full: setup ## Run the heavy tests: large networks, every layer of each, a hundred thousand requests made wrong, minutes
	$(BIN)/python -m pytest -m full_size $(TESTS)

.PHONY: check
check: setup ## Lint, types, stale generated files and stale requirement files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(PYTHON_FOLDERS)
	$(BIN)/buf lint proto
	$(BIN)/buf format --diff --exit-code proto
	$(MAKE) --no-print-directory check-proto check-lock

.PHONY: format
format: setup ## Rewrite the code as the formatter wants it
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .
	$(BIN)/buf format --write proto

.PHONY: proto
proto: setup ## Generate the messages, services and stubs from the .proto files
	$(BIN)/python proto/generate.py

.PHONY: check-proto
check-proto: setup
	$(BIN)/python proto/generate.py --check

.PHONY: lock
lock: | $(filter .uv/bin/uv,$(UV)) ## Write requirements/*.txt after a change of a pyproject.toml
	requirements/compile.sh

.PHONY: upgrade
upgrade: | $(filter .uv/bin/uv,$(UV)) ## Write requirements/*.txt with the newest versions
	requirements/compile.sh requirements --upgrade

.PHONY: check-lock
check-lock: | $(filter .uv/bin/uv,$(UV))
	fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; cp requirements/*.txt "$$fresh"; \
	  requirements/compile.sh "$$fresh"; \
	  for file in requirements/*.txt; do \
	    diff -u "$$file" "$$fresh/$${file##*/}" || { echo "$$file is stale: run make lock" >&2; exit 1; }; done

.PHONY: bench
bench: setup ## Measure the figures that the README quotes: half an hour, h2load of nghttp2 makes the load
	$(BIN)/python -m benchmarks.slices
	$(BIN)/python -m benchmarks.field --plot docs/field.png
	$(BIN)/python -m benchmarks.overload
	$(BIN)/python -m benchmarks.batch

.PHONY: course
course: setup ## Run what a CNN course claims, and print the tables of docs/course.md
	$(BIN)/python -m benchmarks.course

.PHONY: deploy-test
deploy-test: setup ## Bring the docker-compose stack up, ask it, and tear it down (exit 2 without Docker)
	tests/deploy/stack.sh

.PHONY: clean
clean: ## Remove what the commands made, and the environment
	rm -rf .venv .uv runs models demo .mypy_cache .pytest_cache .ruff_cache .hypothesis
