# test     everything that must pass: format, lints, Rust tests, the Parquet readers
# lint     format, clippy, and cargo-deny where it is installed
# bench    docs/performance.md: beside DuckDB, Polars, pyarrow, pandas, Spark and dlt (what can be set: benches/performance/main.rs)
# dist     the program as it is published, optimised by a profile of its work (a quarter of an hour; rustup component add llvm-tools)
# torture  kills, failing system calls, power loss, a hostile Graph: docs/torture.md (Linux, strace)
# fuzz     any bytes as logs, records, configs and schemas, half an hour each (cargo-fuzz, g++)
# docs     docs/tables.md from schemas/, and the API documentation

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := test
.PHONY: test lint dist bench torture fuzz docs

CARGO  ?= cargo
PYTHON ?= python3
VENV   := $(CURDIR)/.venv
BENCH_VENV := $(CURDIR)/.venv-bench

# Builds with other flags have directories of their own, so that none takes another's place.
TARGET  := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
HOST    := $(shell rustc --version --verbose | sed -n 's/^host: //p')
PROFDATA := $(shell rustc --print sysroot)/lib/rustlib/$(HOST)/bin/llvm-profdata
# Code that was built with other features has other names in a profile: that of the benches is their own.
PROFILE := $(TARGET)/training/program.profdata
OF_BENCHES := $(TARGET)/training/benches.profdata
AS_DIST := --locked --profile dist --target $(HOST)
TRAIN   = CARGO_TARGET_DIR=$(TARGET)/training RUSTFLAGS="-Cprofile-generate=$(@:.profdata=)" $(CARGO)
TRAINED = CARGO_TARGET_DIR=$(TARGET)/trained RUSTFLAGS="-Cprofile-use=$(1)" $(CARGO)
SOURCES := Cargo.toml Cargo.lock $(shell find src schemas -type f)

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

dist: $(PROFILE)
	$(call TRAINED,$(PROFILE)) build $(AS_DIST)
	@echo "built: $(TARGET)/trained/$(HOST)/dist/callrec"

$(PROFILE): $(SOURCES) benches/train.sh
	$(NEEDS_PROFDATA)
	$(TRAIN) build $(AS_DIST)
	benches/train.sh $(TARGET)/training/$(HOST)/dist/callrec
	$(PROFDATA) merge --output $@ $(@:.profdata=)

$(OF_BENCHES): $(SOURCES) $(shell find benches -name '*.rs')
	$(NEEDS_PROFDATA)
	CALLREC_BENCH_SECTIONS=floor CALLREC_BENCH_RECORDS=5000 CALLREC_BENCH_ROUNDS=1 CALLREC_BENCH_DOCS=$(TARGET)/training \
	  CALLREC_BENCH_PYTHON=$(PYTHON) $(TRAIN) bench $(AS_DIST) --bench performance
	CALLREC_BENCH_RECORDS=5000 $(TRAIN) bench $(AS_DIST) --bench fetch >/dev/null
	$(PROFDATA) merge --output $@ $(@:.profdata=)

define NEEDS_PROFDATA
@test -x $(PROFDATA) || { echo "llvm-profdata is needed: rustup component add llvm-tools" >&2; exit 1; }
@rm -rf $(@:.profdata=)
endef

bench: $(BENCH_VENV)/requirements.txt $(OF_BENCHES)
	@command -v java >/dev/null || echo "NOT MEASURED: Spark (there is no java; Debian: apt-get install openjdk-17-jre-headless)" >&2
	$(CARGO) build --locked --release
	CALLREC_BENCH_PLAIN=$(TARGET)/release/callrec $(call TRAINED,$(OF_BENCHES)) bench $(AS_DIST) --bench performance
	$(call TRAINED,$(OF_BENCHES)) bench $(AS_DIST) --bench fetch >> docs/performance.md
	$(call TRAINED,$(OF_BENCHES)) bench $(AS_DIST) --bench listen >> docs/performance.md
	$(call TRAINED,$(OF_BENCHES)) bench $(AS_DIST) --bench incremental >> docs/performance.md

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
