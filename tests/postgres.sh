#!/usr/bin/env bash
# Runs a command beside a PostgreSQL server of its own, which is gone afterwards; without PostgreSQL says so and runs it all the same.
#
#   tests/postgres.sh cargo test --workspace --release
set -euo pipefail

bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1 || true)
if [ -z "$bin" ] && command -v initdb >/dev/null; then bin=$(dirname "$(command -v initdb)"); fi
if [ -z "$bin" ]; then
  echo "skipped: the store is not tested on PostgreSQL, which is not installed (Debian: apt-get install postgresql)" >&2
  exec "$@"
fi

work=$(mktemp -d)
# PostgreSQL refuses to run as root.
as=()
if [ "$(id -u)" = 0 ]; then
  chown postgres "$work"
  as=(runuser -u postgres --)
fi
stop() {
  "${as[@]}" "$bin/pg_ctl" -D "$work/data" -m immediate stop >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap stop EXIT
"${as[@]}" "$bin/initdb" -D "$work/data" -U cachalot -A trust >/dev/null
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
# It is thrown away: what it says need not be safe on disk.
"${as[@]}" "$bin/pg_ctl" -D "$work/data" -w -l "$work/log" -o "-p $port -k $work -c listen_addresses=127.0.0.1 -c fsync=off" start >/dev/null
export CACHALOT_TEST_POSTGRES=postgres://cachalot@127.0.0.1:$port/postgres
"$@"
