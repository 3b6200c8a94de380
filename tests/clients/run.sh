#!/usr/bin/env bash
# Starts target/release/cachalot with the fixture model, on a free port and with a seed, runs every client against it, and stops it.
# With the seed, the model gives the same answers in every run. Builds nothing. Prints the output of each client, the failed
# checks once more, and a summary. Exits with 1 if a check failed.
#
#   tests/clients/run.sh                   # needs `cargo build --release`; installs missing client libraries
#   CACHALOT_URL=http://... tests/clients/run.sh    # against a running server
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
target=$(cd "${CARGO_TARGET_DIR:-$here/../../target}" && pwd)
python=$target/ci-venv/bin/python
[ -x "$target/ci-venv/bin/llm" ] && [ -d "$target/ci-node/node_modules/ai" ] && [ -x "$target/ci-agents/node_modules/.bin/claude" ] || "$here/install.sh"

work=$(mktemp -d)
server=
background_pids=
cleanup() {
  if [ -n "$server" ]; then kill -KILL "$server" 2>/dev/null || true; fi
  for pid in $background_pids; do kill "$pid" 2>/dev/null || true; done
  rm -rf "$work"
}
trap cleanup EXIT
passed=0 failed=()
pass() { echo "ok $1"; passed=$((passed + 1)); }
fail() { echo "not ok $1"; failed+=("not ok $1"); }

start() { # without the configuration and data of the user
  binary=$target/release/cachalot
  [ -x "$binary" ] || { echo "$binary is missing: run cargo build --release" >&2; exit 1; }
  mkdir "$work/cwd"
  : >"$work/log" # it is read before the server's process may have opened it
  (cd "$work/cwd" && XDG_CONFIG_HOME=$work/config XDG_DATA_HOME=$work/data XDG_CACHE_HOME=$work/cache exec env -u CACHALOT_LOG "$binary" serve --model fixture --listen 127.0.0.1:0 --seed 1) >"$work/out" 2>>"$work/log" &
  server=$!
  for _ in $(seq 300); do
    url=$(sed -n 's|.*listening on \(http://127\.0\.0\.1:[0-9]*\).*|\1|p' "$work/log" | head -n 1)
    if [ -n "$url" ] && curl -sf "$url/readyz" >/dev/null; then
      export CACHALOT_URL=$url
      return
    fi
    kill -0 "$server" 2>/dev/null || break
    sleep 0.2
  done
  echo "the server did not become ready; its log:" >&2
  cat "$work/log" >&2
  exit 1
}

stop() {
  kill -TERM "$server"
  local code=0
  wait "$server" || code=$?
  server=
  if [ "$code" = 0 ]; then pass "server: SIGTERM ends it with exit code 0"; else fail "server: exit code $code after SIGTERM"; fi
  if grep -q panicked "$work/log"; then fail "server: its log has a panic: $(grep -m 1 panicked "$work/log")"; else pass "server: its log has no panic"; fi
}

client() { # NAME COMMAND...: counts the `ok` and `not ok` lines of a client
  local name=$1 code=0 oks bad=()
  shift
  "$@" >"$work/client" 2>"$work/client-errors" || code=$?
  cat "$work/client"
  oks=$(grep -c '^ok ' "$work/client" || true)
  mapfile -t bad < <(grep '^not ok ' "$work/client")
  passed=$((passed + oks)) failed+=("${bad[@]}")
  if [ "$code" != 0 ] && [ ${#bad[@]} = 0 ] || [ $((oks + ${#bad[@]})) = 0 ]; then
    cat "$work/client-errors" >&2
    fail "$name: ended with exit code $code after $oks checks"
  fi
}

matrix() { # a gateway to fake providers of every dialect, for every client with every dialect
  python3 "$here/fake_providers.py" >"$work/provider_url" &
  background_pids=$!
  : >"$work/matrix.log"
  for _ in $(seq 300); do [ -s "$work/provider_url" ] && break; sleep 0.1; done
  for dialect in openai deepseek anthropic gemini; do
    printf '[[providers]]\nname = "fake-%s"\nbase_url = "%s/%s/v1"\ndialect = "%s"\nprivate = true\nmodels = ["%s"]\n' \
      $dialect "$(cat "$work/provider_url")" $dialect $dialect $dialect
  done >"$work/matrix.toml"
  "$target/release/cachalot" serve --model none --store off --listen 127.0.0.1:0 --config "$work/matrix.toml" 2>>"$work/matrix.log" &
  background_pids="$background_pids $!"
  for _ in $(seq 100); do
    CACHALOT_MATRIX_URL=$(sed -n 's|.*listening on \(http://127\.0\.0\.1:[0-9]*\).*|\1|p' "$work/matrix.log")
    [ -n "$CACHALOT_MATRIX_URL" ] && break
    sleep 0.1
  done
  export CACHALOT_MATRIX_URL
  client "matrix for Python" "$python" "$here/matrix.py"
  client "matrix for Node" node "$target/ci-node/matrix.mjs"
}

expect_success() { # NAME COMMAND...: a program that passes if it exits with 0
  local name=$1
  shift
  if "$@" >"$work/client" 2>&1; then pass "$name"; else fail "$name: $(tail -n 1 "$work/client")"; fi
}

external_url=${CACHALOT_URL:-}
[ -n "$external_url" ] || start
# Node finds their imports beside node_modules.
cp "$here/openai_node.mjs" "$here/anthropic_node.mjs" "$here/matrix.mjs" "$here/vercel.mjs" "$target/ci-node/"
cp "$here/../../examples/node/chat.mjs" "$target/ci-node/example_chat.mjs"
client "curl" bash "$here/cometapi_guide.sh"
expect_success "requests sample of CometAPI's guide" "$python" "$here/cometapi_guide.py"
expect_success "requests sample of CometAPI's guide, in an environment of 56 KiB" env -i CACHALOT_URL="$CACHALOT_URL" PADDING="$(head -c 57344 /dev/zero | tr '\0' x)" "$python" "$here/cometapi_guide.py"
client "openai for Python" "$python" "$here/openai_python.py"
client "openai for Python, shapes" "$python" "$here/openai_tools.py"
[ -n "$external_url" ] || client "openai for Python, files" env CACHALOT="$target/release/cachalot" "$python" "$here/openai_files.py"
client "openai for Node" node "$target/ci-node/openai_node.mjs"
client "anthropic for Python" "$python" "$here/anthropic_python.py"
client "anthropic for Node" node "$target/ci-node/anthropic_node.mjs"
client "google-genai for Python" "$python" "$here/gemini_python.py"
expect_success "examples/curl.sh" "$here/../../examples/curl.sh"
expect_success "examples/python/chat.py" "$python" "$here/../../examples/python/chat.py"
expect_success "examples/node/chat.mjs" node "$target/ci-node/example_chat.mjs"
client "frameworks" "$python" "$here/frameworks.py"
[ -n "$external_url" ] || client "API guide" env PYTHON="$python" CACHALOT="$target/release/cachalot" \
  node --experimental-detect-module "$here/../console/guide_snippets.mjs" "$CACHALOT_URL" "$target/ci-node/node_modules"
[ -n "$external_url" ] || matrix
# Against the model, and against the fake providers if these run.
client "Vercel AI SDK" node "$target/ci-node/vercel.mjs"
client "agent frameworks" "$python" "$here/agent_frameworks.py"
[ -n "$external_url" ] || client "coding agents" "$python" "$here/coding_agents.py" "$target/release/cachalot" "$target/ci-agents/node_modules"
[ -n "$external_url" ] || client "deploy" "$python" "$here/deploy.py"
[ -n "$external_url" ] || client "repository" "$python" "$here/repository.py"
[ -n "$external_url" ] || stop
[ ${#failed[@]} = 0 ] || printf '%s\n' "" "${failed[@]}"
echo "$passed passed, ${#failed[@]} failed"
[ ${#failed[@]} = 0 ]
