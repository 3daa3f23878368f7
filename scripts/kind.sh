#!/bin/sh
# What to install for people: whatsapp if it is asked for (make run WHATSAPP=1), switched on in the home's settings, or
# installed already; else host.
set -eu
cd "${0%/*}/.."
settings=${NANOCLAW_HOME:-$HOME/nanoclaw}/nanoclaw.toml

switched_on() {
  [ -f "$settings" ] &&
    awk '/^\[/ { inside = ($1 == "[whatsapp]") } inside && /^enabled *= *true/ { found = 1 } END { exit !found }' "$settings"
}

if [ -n "${WHATSAPP:-}" ] || [ -f .venv/.installed-whatsapp ] || switched_on; then
  echo whatsapp
else
  echo host
fi
