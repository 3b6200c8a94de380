#!/usr/bin/env bash
# Runs fuzz targets with their seeds, their dictionary and their limits.
#
#   fuzz/run.sh                 # every target for 60 seconds
#   fuzz/run.sh TARGET SECONDS
set -euo pipefail
cd "$(dirname "$0")/.."
target=${1:-all} seconds=${2:-60}

command -v cargo-fuzz >/dev/null || { echo "cargo-fuzz is not installed: run \`cargo install cargo-fuzz --locked\`" >&2; exit 1; }
if [ "$target" = all ]; then targets=$(cargo fuzz list); else targets=$target; fi
for one in $targets; do
  echo "== $one"
  mkdir -p "fuzz/corpus/$one"
  cargo fuzz run --sanitizer none "$one" "fuzz/corpus/$one" "fuzz/seeds/$one" -- \
    -max_total_time="$seconds" -max_len=65536 -timeout=60 -dict=fuzz/words.dict
done
