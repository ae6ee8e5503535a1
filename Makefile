# test     everything that must pass: format, lints, Rust tests, the Parquet readers
# lint     format, clippy, and cargo-deny where it is installed
# bench    docs/performance.md: beside DuckDB, Polars, pyarrow, pandas, Spark and dlt (what can be set: benches/performance/main.rs)
# torture  kills, failing system calls, power loss, a hostile Graph: docs/torture.md (Linux, strace)
# fuzz     any bytes as logs, records, configs and schemas, half an hour each (cargo-fuzz, g++)
# docs     docs/tables.md from schemas/, and the API documentation

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := test
.PHONY: test lint bench torture fuzz docs

CARGO  ?= cargo
PYTHON ?= python3
VENV   := $(CURDIR)/.venv
BENCH_VENV := $(CURDIR)/.venv-bench

# The Rust tests run the Parquet readers with this interpreter.
export CALLREC_TEST_PYTHON := $(VENV)/bin/python

test: lint $(VENV)/requirements.txt
	$(CARGO) test --locked --features failpoints,polars
	$(CALLREC_TEST_PYTHON) tests/readers/selftest.py

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets --features failpoints,polars -- -D warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
	  $(CARGO) deny --locked check bans licenses sources; \
	else \
	  echo "NOT CHECKED: licences, bans and sources of dependencies (cargo-deny is not installed: cargo install cargo-deny)" >&2; \
	fi

bench: $(BENCH_VENV)/requirements.txt
	@command -v java >/dev/null || echo "NOT MEASURED: Spark (there is no java; Debian: apt-get install openjdk-17-jre-headless)" >&2
	$(CARGO) bench --locked --bench performance
	$(CARGO) bench --locked --bench fetch >> docs/performance.md
	$(CARGO) bench --locked --bench incremental >> docs/performance.md

torture:
	$(CARGO) bench --locked --bench torture > docs/torture.md.new
	mv docs/torture.md.new docs/torture.md

fuzz:
	tests/fuzz/run.sh

docs:
	$(CARGO) run --locked --quiet -- schema --format md > docs/tables.md.new
	mv docs/tables.md.new docs/tables.md
	$(CARGO) doc --locked --no-deps --document-private-items

# Made anew whenever the requirements differ from those that it was made from.
$(VENV)/requirements.txt: tests/requirements.txt
$(BENCH_VENV)/requirements.txt: benches/requirements.txt
# pyspark comes as a source distribution alone; all others as wheels.
$(VENV)/requirements.txt $(BENCH_VENV)/requirements.txt:
	@if cmp -s $< $@; then touch $@; exit 0; fi; \
	echo "Python environment: $(@D)"; \
	rm -rf $(@D); \
	$(PYTHON) -m venv $(@D) || { echo "python3 with venv is needed (Debian: apt-get install python3-venv)" >&2; exit 1; }; \
	$(@D)/bin/python -m pip install --progress-bar on --only-binary :all: --no-binary pyspark --requirement $<; \
	cp $< $@
