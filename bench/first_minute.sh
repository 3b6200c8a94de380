#!/usr/bin/env bash
# Measures what README.md shows in its section "The first minute", and prints its table: medians of several runs, each with a
# new home folder. Fails where a step fails. Needs curl and a built program.
#
#   bench/first_minute.sh                           # target/dist/cachalot, else target/release/cachalot, else the one in PATH
#   PROGRAM=... MODEL=fixture RUNS=1 bench/first_minute.sh
set -euo pipefail
target=${CARGO_TARGET_DIR:-$(cd "$(dirname "$0")/.." && pwd)/target}
program=${PROGRAM:-}
for candidate in "$target/dist/cachalot" "$target/release/cachalot" "$(command -v cachalot || true)"; do
  [ -n "$program" ] || [ ! -x "$candidate" ] || program=$candidate
done
[ -n "$program" ] || { echo "there is no program: build it, or name it in PROGRAM" >&2; exit 1; }
runs=${RUNS:-3}
model=${MODEL:+--model $MODEL}
unset CACHALOT_LOG CACHALOT_KEY

work=$(mktemp -d)
servers=()
stop() {
  for server in "${servers[@]}"; do kill "$server" 2>/dev/null && wait "$server" || true; done
  servers=()
}
trap 'stop; rm -rf "$work"' EXIT

steps=('an answer in the terminal' '`serve` until it listens' 'an answer by curl' "the console's page"
  'a second provider, until its model answers' 'a key, until it works and others are refused')

cachalot() { "$program" "$@"; }
serve() { # NAME SWITCHES: starts a server and sets `url`
  local log=$work/$1.log
  shift
  : >"$log"
  "$program" serve --listen 127.0.0.1:0 "$@" >"$log.out" 2>"$log" &
  servers+=($!)
  until url=$(sed -n 's|.*listening on \(http://[0-9.:]*\).*|\1|p' "$log") && [ -n "$url" ]; do
    kill -0 "${servers[-1]}" 2>/dev/null || { cat "$log" >&2; exit 1; }
    sleep 0.01
  done
}
ask() { # URL MODEL KEY: prints the status of a short chat
  curl -s -o "$work/answer" -w '%{http_code}' "$1/chat/completions" -H "Authorization: Bearer $3" -H 'Content-Type: application/json' \
    -d '{"model": "'"$2"'", "messages": [{"role": "user", "content": "Who are you?"}], "stream": true, "max_tokens": 64}'
}
await() { # SECONDS COMMAND...: repeats a command until it succeeds
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || { echo "this did not happen: $*" >&2; exit 1; }
    sleep 0.05
  done
}
is() { [ "$("${@:2}")" = "$1" ]; } # EXPECTED COMMAND...
timed() { # STEP COMMAND...: notes the seconds of a command
  local step=$1 begun=$EPOCHREALTIME
  shift
  "$@"
  awk -v a="$begun" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.2f\n", b - a }' >>"$work/step$step"
}

in_terminal() { [ -n "$(echo 'Who are you?' | cachalot chat $model)" ]; }
second_provider() { cachalot provider add second --base-url "$second/v1" --dialect deepseek --private 2>/dev/null && await 20 is 200 ask "$first" second/deepseek-chat none; }
key() {
  local secret
  secret=$(cachalot key add alice --budget 5 --rpm 60 2>/dev/null)
  await 20 is 200 ask "$first" deepseek-chat "$secret" && await 20 is 401 ask "$first" deepseek-chat none
}

for run in $(seq "$runs"); do
  export HOME=$work/home$run
  export XDG_CONFIG_HOME=$HOME/config XDG_DATA_HOME=$HOME/data XDG_CACHE_HOME=$HOME/cache XDG_STATE_HOME=$HOME/state
  mkdir "$HOME"
  cd "$HOME"
  timed 0 in_terminal
  timed 1 serve first $model
  first=$url
  timed 2 is 200 ask "$first" deepseek-chat none
  timed 3 is 200 curl -sL -o "$work/page" -w '%{http_code}' -H 'Accept: text/html' "$first/"
  serve second --model fixture --store off
  second=$url
  timed 4 second_provider
  timed 5 key
  stop
done

echo '| | time |'
echo '|---|---:|'
for step in "${!steps[@]}"; do
  printf '| %s | %s s |\n' "${steps[step]}" "$(sort -n "$work/step$step" | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }')"
done
