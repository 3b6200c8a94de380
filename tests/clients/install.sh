#!/usr/bin/env bash
# Installs the client libraries for run.sh into target/ci-venv, target/ci-node and target/ci-agents (300 MB). Needs python3 with venv, node and npm.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$here/../../target}

for tool in python3 node npm curl; do
  command -v "$tool" >/dev/null || { echo "$tool is needed for the client tests, and is not installed" >&2; exit 1; }
done
mkdir -p "$target/ci-node" "$target/ci-agents"
[ -x "$target/ci-venv/bin/python" ] || python3 -m venv "$target/ci-venv"
# Without a search for versions: instructor refuses the version of jiter that openai needs, and works with it.
"$target/ci-venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps -r "$here/requirements.txt"
cp "$here/package.json" "$here/package-lock.json" "$target/ci-node/"
npm ci --prefix "$target/ci-node" --no-audit --no-fund --loglevel=error >&2
cp "$here/coding_agents/package.json" "$here/coding_agents/package-lock.json" "$target/ci-agents/"
npm ci --prefix "$target/ci-agents" --no-audit --no-fund --loglevel=error >&2
