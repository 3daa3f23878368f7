#!/bin/sh
# agents.sh: make ready what agents run in. agents.sh tests: for both kinds that the tests use, without a browser.
set -eu
cd "${0%/*}/.."
. scripts/lib.sh
stamp=.venv/.agents

prepare() {
  text=$1
  shift
  step "$text" .venv/bin/nanoclaw image build "$@"
}

# What it is made from.
origin() {
  find container src -type f ! -name '*.pyc' | sort | xargs cat | cksum
}

# Whether there is some; the host finds out whether it is the right one, and says so.
is_there() {
  [ -d "${XDG_DATA_HOME:-$HOME/.local/share}/nanoclaw/toolkit" ] ||
    { has podman && [ -n "$(podman image ls --quiet localhost/nanoclaw-agent)" ]; } ||
    { has docker && [ -n "$(docker image ls --quiet localhost/nanoclaw-agent)" ]; }
}

if [ "${1:-}" = tests ]; then
  prepare "making the agents' image" --engine podman --no-browser
  prepare "making the agents' toolkit" --engine bubblewrap --no-browser
elif [ "$(cat "$stamp" 2>/dev/null)" != "$(origin)" ] || ! is_there; then
  prepare "making what agents run in"
  origin >"$stamp"
fi
