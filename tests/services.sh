#!/usr/bin/env bash
# Runs a command beside a PostgreSQL and a Redis of its own, which are gone afterwards; says so where one is not installed, and runs it all the same.
#
#   tests/services.sh cargo test --workspace --release
set -euo pipefail

work=$(mktemp -d)
stop() {
  [ -z "${postgres:-}" ] || "${as[@]}" "$postgres/pg_ctl" -D "$work/data" -m immediate stop >/dev/null 2>&1 || true
  [ -z "${redis:-}" ] || kill "$redis" 2>/dev/null || true
  rm -rf "$work"
}
trap stop EXIT
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

postgres=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1 || true)
if [ -z "$postgres" ] && command -v initdb >/dev/null; then postgres=$(dirname "$(command -v initdb)"); fi
if [ -z "$postgres" ]; then
  echo "skipped: nothing is tested on PostgreSQL, which is not installed (Debian: apt-get install postgresql)" >&2
else
  # PostgreSQL refuses to run as root.
  as=()
  if [ "$(id -u)" = 0 ]; then
    chown postgres "$work"
    as=(runuser -u postgres --)
  fi
  "${as[@]}" "$postgres/initdb" -D "$work/data" -U cachalot -A trust >/dev/null
  port=$(free_port)
  # It is thrown away: what it says need not be safe on disk.
  start=("${as[@]}" "$postgres/pg_ctl" -D "$work/data" -w -l "$work/log" -o "'-p $port -k $work -c listen_addresses=127.0.0.1 -c fsync=off'" -m immediate)
  bash -c "${start[*]} start" >/dev/null
  export CACHALOT_TEST_POSTGRES=postgres://cachalot@127.0.0.1:$port/postgres
  # Kills it and starts it again.
  export CACHALOT_TEST_POSTGRES_CRASH="${start[*]} restart"
fi

server=$(command -v valkey-server || command -v redis-server || true)
if [ -z "$server" ]; then
  echo "skipped: limits that machines share are not tested, for neither Valkey nor Redis is installed (Debian: apt-get install redis-server)" >&2
else
  port=$(free_port)
  "$server" --port "$port" --bind 127.0.0.1 --save '' --appendonly no --daemonize no >/dev/null &
  redis=$!
  until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
    kill -0 "$redis" || { echo "Redis did not start" >&2; exit 1; }
    sleep 0.05
  done
  export CACHALOT_TEST_REDIS=redis://127.0.0.1:$port
fi

"$@"
