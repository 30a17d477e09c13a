# `make` alone explains itself. Every target brings what it needs: only Python 3.11 or newer and pip must be there.
.DEFAULT_GOAL := help
SHELL := /bin/bash
UV_VERSION := 0.13.9
DATACONTRACT_VERSION := 1.2.8
DELTA_VERSION := 3.3.2
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && { command -v $$p; break; }; done)
UV := .uv/bin/uv
unexport PYTHONDONTWRITEBYTECODE # the tests start hundreds of processes: each would compile every module again
# Hence --compile-bytecode below, too: otherwise the first processes, all at once, compile the libraries that they import.
RUN := .venv/bin/
SWP := $(RUN)swp

help: ## this page
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' Makefile

setup: .venv/.dev ## install everything for development into .venv

demo: .venv/.local ## start the local stack, run all three pipelines on it, report, stop (about two minutes)
	$(SWP) demo

# Three at a time on two cores: for a third of its time a test waits for another process.
test: .venv/.dev ## all tests that need nothing but this machine
	$(RUN)pytest -n 3 --dist loadgroup

test-spark: .spark/.ready ## what Spark does to the inventory table: real Spark and Delta; needs Java 17 and Maven
	.spark/venv/bin/python -m pytest -p no:randomly tests/inventory/test_spark.py

lint: .venv/.dev ## style, templates, workflows
	$(RUN)ruff check
	$(RUN)ruff format --check
	$(RUN)cfn-lint infra/*/template.yaml

contracts: .uv/bin/uv ## the contracts with the independent linter of the standard
	for contract in src/shopware_pipelines/contracts/*.odcs.yaml; do \
	  $(UV) tool run --quiet --python $(PYTHON) --from datacontract-cli==$(DATACONTRACT_VERSION) datacontract lint $$contract || exit 1; done

types: .venv/.dev ## mypy --strict
	$(RUN)mypy

audit: .venv/.dev ## known vulnerabilities of the locked dependencies
	$(UV) export --quiet --locked --all-extras --no-emit-project --format requirements-txt > .venv/requirements.txt
	$(RUN)pip-audit --disable-pip --require-hashes -r .venv/requirements.txt

whole: .venv/.dev ## what `make test` takes samples of: kills at every place and moment, twenty times its fuzzed lines
	$(RUN)pytest -m soak -n 2 tests/inventory/test_kill.py tests/local/test_stack.py
	SWP_FUZZ_LINES=20000 $(RUN)pytest -n 2 tests/quality/files/test_agreement.py tests/quality/files/test_engine.py

fuzz: .venv/.dev ## engine against the reference validator, 200,000 lines of each contract, and its laws 250 times
	SWP_FUZZ_LINES=200000 $(RUN)pytest tests/quality/files/test_agreement.py tests/quality/files/test_engine.py -s -n 2

fuzz-native: .venv/.dev ## scan.c under the address and undefined-behaviour sanitizers, a minute for each harness
	@echo 'int main(void) { return 0; }' | $(CC) -fsanitize=address,undefined -x c -o .venv/sanitized - || { echo "error:" \
	  "$(CC) is missing or has no sanitizers; apt-get install gcc libc6-dev, or name another: make fuzz-native CC=clang"; exit 2; }
	CC="$(CC)" SWP_FUZZ_SECONDS=60 $(RUN)pytest tests/quality/scan/test_sanitized.py -n 2 -rP

laws: .venv/.dev ## the laws of streams, alerts and proof, 2,000 random cases of each (about 20 minutes)
	SWP_CASES=2000 $(RUN)pytest tests/streaming/landing/test_landing_laws.py tests/interactions/test_alert_laws.py -s -n 2
	SWP_CASES=200 $(RUN)pytest tests/trust/test_random_histories.py -s -n 2

restless: .venv/.dev ## tests of streams and local stack, 20 runs in random order, four at a time (about 80 minutes)
	seq 20 | xargs -P 4 -I{} sh -c '$(RUN)pytest -q -n 2 --dist loadgroup tests/streaming tests/local \
	  > .venv/restless-{}.log 2>&1 && echo "run {} passed" || { echo "run {} failed: .venv/restless-{}.log"; exit 1; }'

soak: .venv/.dev ## tests that take long; then many event hours at once and 2,000 records a second through the local stack
	$(RUN)pytest -m soak -n 1
	$(RUN)python -m bench.hours
	$(RUN)python -m bench.soak

bench: .venv/.dev ## the figures of BENCHMARKS.md (about 15 minutes, 6 GB of disk)
	$(UV) sync --quiet --locked --extra local --extra dev --group bench
	$(RUN)python -m bench.run

docs: .venv/.dev ## write the generated pages again
	$(SWP) contract docs --output docs/data-dictionary.md
	$(RUN)python -m tests.cli_page > docs/cli.md

clean: ## remove what the targets made
	rm -rf .venv .uv .spark .mypy_cache .ruff_cache .pytest_cache .hypothesis bench/data src/shopware_pipelines/quality/scan/_scan.so

.uv/bin/uv:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11, 3.12 or 3.13 found; install one, or name it: make PYTHON=/path/to/python3"; exit 2; }
	$(PYTHON) -m venv .uv
	.uv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

.venv/.local: .uv/bin/uv uv.lock pyproject.toml hatch_build.py $(wildcard src/shopware_pipelines/quality/scan/*.c)
	$(UV) sync --quiet --locked --inexact --compile-bytecode --python $(PYTHON) --extra local
	@touch $@

.venv/.dev: .uv/bin/uv uv.lock pyproject.toml hatch_build.py $(wildcard src/shopware_pipelines/quality/scan/*.c)
	$(UV) sync --quiet --locked --inexact --compile-bytecode --python $(PYTHON) --extra local --extra dev
	@touch $@ .venv/.local

# The versions of AWS Glue 5.1, Python included; the jars without what they depend on, which Spark has.
.spark/.ready: .uv/bin/uv uv.lock pyproject.toml
	@command -v java > /dev/null || { echo "error: no Java found; install one of version 17 (Debian: openjdk-17-jre-headless)"; exit 2; }
	@command -v mvn > /dev/null || { echo "error: no Maven found; install it (Debian: maven)"; exit 2; }
	UV_PROJECT_ENVIRONMENT=.spark/venv $(UV) sync --quiet --locked --python 3.11 --extra local --extra dev --extra spark
	for jar in delta-spark_2.12 delta-storage; do \
	  mvn --batch-mode --quiet dependency:copy -Dartifact=io.delta:$$jar:$(DELTA_VERSION) -DoutputDirectory=.spark/jars || exit 1; done
	@touch $@

.PHONY: help setup demo test test-spark lint contracts types audit whole fuzz fuzz-native laws restless soak bench docs clean
