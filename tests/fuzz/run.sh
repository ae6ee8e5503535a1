#!/usr/bin/env bash
# Fuzzes every target, or those named, side by side for CALLREC_FUZZ_SECONDS
# (1800). Needs cargo-fuzz and g++. Ends with 1 if a target crashed, hung or took
# more than 512 MiB: what it found is then in tests/fuzz/artifacts. Mend it, and
# keep the input, made small with `cargo fuzz tmin`, in tests/fuzz/inputs/TARGET.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
cargo fuzz --version >/dev/null || { echo "cargo-fuzz is missing: cargo install cargo-fuzz" >&2; exit 1; }
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
# The address sanitizer is not stable yet; the compiler is.
export RUSTC_BOOTSTRAP=1
# Freed memory that the sanitizer holds back is not the target's.
export ASAN_OPTIONS="quarantine_size_mb=16:${ASAN_OPTIONS:-}"
[[ ! -d /dev/shm ]] || export TMPDIR=/dev/shm
seconds=${CALLREC_FUZZ_SECONDS:-1800}
targets=("$@")
((${#targets[@]})) || targets=(notifications records config schema)

# The inputs to begin with, each in the form that its target reads.
seeds() {
  local target=$1 directory=$2 number=0 name
  case $target in
    records) cp ../../sample_data/records/*.json "$directory" ;;
    config) cp ../../sample_data/callrec.toml ../../src/verbs/init.toml "$directory" ;;
    notifications) { printf '\001\000' && cat ../../sample_data/notifications/events.jsonl; } >"$directory/events" ;;
    schema)
      for name in calls participants sessions segments media streams trace_route_hops feedback_tokens \
        shapes/device shapes/endpoint shapes/failure shapes/network ledger enums shapes/identity; do
        { printf "\\$(printf %03o "$number")" && cat "../../schemas/$name.toml"; } >"$directory/${name#*/}"
        number=$((number + 1))
      done
      ;;
  esac
  for name in inputs/"$target"/*; do
    [[ ! -f $name ]] || cp "$name" "$directory"
  done
}

cargo fuzz build --fuzz-dir . --release
declare -A running
for target in "${targets[@]}"; do
  corpus="$CARGO_TARGET_DIR/corpus/$target"
  log="$CARGO_TARGET_DIR/$target.log"
  mkdir -p "$corpus" "artifacts/$target"
  seeds "$target" "$corpus"
  echo "$target: $seconds s, log in $log"
  "$CARGO_TARGET_DIR/x86_64-unknown-linux-gnu/release/$target" "$corpus" -artifact_prefix="artifacts/$target/" \
    -max_total_time="$seconds" -max_len=65536 -rss_limit_mb=512 -timeout=25 -dict=words.dict -print_final_stats=1 \
    >"$log" 2>&1 &
  running[$target]=$!
done
failed=0
for target in "${targets[@]}"; do
  if wait "${running[$target]}"; then
    echo "$target: nothing found; $(grep -o 'stat::number_of_executed_units: *[0-9]*' "$CARGO_TARGET_DIR/$target.log" | grep -o '[0-9]*$') inputs," \
      "peak $(grep -o 'stat::peak_rss_mb: *[0-9]*' "$CARGO_TARGET_DIR/$target.log" | grep -o '[0-9]*$') MB"
  else
    echo "$target: FOUND SOMETHING, see $CARGO_TARGET_DIR/$target.log" >&2
    failed=1
  fi
done
exit "$failed"
