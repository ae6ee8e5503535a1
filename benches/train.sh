#!/bin/bash
# What a published build is optimised for: the work of `flatten` and `run` on generated records.
# usage: train.sh PROGRAM
set -euo pipefail
program=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$program" simulate --generate 5000 --seed 7 --write "$work/records.ndjson"
for threads in 1 2; do
  "$program" flatten "$work/records.ndjson" --output "$work/tables-$threads" --threads "$threads" >/dev/null
done
cat >"$work/callrec.toml" <<'TOML'
[source]
notifications = "none"

[graph]
endpoint = "simulator"
requests_per_20s = 1000000

[simulator]
generate = 3000
seed = 7
throttle = false

[output]
root = "out"
TOML
sed -n '1,3000s/^{"id":"\([^"]*\)".*/\1/p' "$work/records.ndjson" >"$work/ids"
"$program" --config "$work/callrec.toml" --log-level warn run --ids-file "$work/ids" >/dev/null
