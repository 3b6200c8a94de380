#!/usr/bin/env bash
# Checks the web console: the types of its modules, then what people do with it and every page in Chromium, against
# target/release/cachalot with the fixture model. Builds nothing; installs what it needs into target/ci-console, and uses the Python of
# tests/clients/install.sh. Pictures, and traces of what failed, are kept in target/ci-console/pictures.
#
#   tests/console/run.sh            # without Chromium (CHROMIUM, else /usr/bin/chromium), the types alone
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
target=$(cd "${CARGO_TARGET_DIR:-$here/../../target}" && pwd)
modules=$target/ci-console
export CHROMIUM=${CHROMIUM:-/usr/bin/chromium} PYTHON=${PYTHON:-$target/ci-venv/bin/python}

mkdir -p "$modules"
cp "$here/package.json" "$here/package-lock.json" "$modules/"
npm ci --prefix "$modules" --no-audit --no-fund --loglevel=error >&2
# Node finds their imports, and the compiler its types, beside node_modules.
cp "$here"/*.mjs "$here"/*.txt "$modules/"
assets=$(cd "$here/../../crates/console/assets" && pwd)
sed "s|@ASSETS@|$assets|g" "$here/tsconfig.json" >"$modules/tsconfig.json"
"$modules/node_modules/.bin/tsc" -p "$modules"
echo "ok types of the console"
for test in markdown format; do ASSETS=$assets node --experimental-detect-module "$here/$test.mjs"; done

[ -x "$CHROMIUM" ] || { echo "skipped: pages of the console are not checked, $CHROMIUM is missing"; exit 0; }
work=$(mktemp -d)
server=
playground=
cleanup() {
  for process in $server $playground; do kill "$process" 2>/dev/null || true; done
  rm -rf "$work"
}
trap cleanup EXIT
: >"$work/log" >"$work/output" # The server may start later than the loop below.
(cd "$work" && XDG_CONFIG_HOME=$work XDG_DATA_HOME=$work XDG_CACHE_HOME=$work exec "$target/release/cachalot" serve --model fixture --listen 127.0.0.1:0 --seed 1) >"$work/output" 2>"$work/log" &
server=$!
for _ in $(seq 300); do
  url=$(sed -n 's|.*listening on \(http://127\.0\.0\.1:[0-9]*\).*|\1|p' "$work/log" | head -n 1)
  [ -n "$url" ] && curl -sf "$url/readyz" >/dev/null && break
  kill -0 "$server" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
  sleep 0.2
done
mkdir -p "$modules/pictures"
link=$(sed -n 's/^Set up the console: //p' "$work/output")
# The playground has a server of its own, and waits more than it computes.
node_clients=$target/ci-node/node_modules
[ ! -d "$node_clients" ] || export MODULES=$node_clients
CACHALOT=$target/release/cachalot node "$modules/playground.mjs" "$here/hostile" >"$work/playground" 2>&1 &
playground=$!
node "$modules/first_run.mjs" "$url" "$link" "$work/log" "$modules/pictures"
for test in keyboard accounts pictures hostile requests; do node "$modules/$test.mjs" "$url" "$modules/pictures"; done
wait "$playground" || { cat "$work/playground"; exit 1; }
playground=
cat "$work/playground"
echo "ok pages of the console"
