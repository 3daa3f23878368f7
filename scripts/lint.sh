#!/bin/sh
# Style, types and import contracts.
set -eu
cd "${0%/*}/.."
.venv/bin/ruff check
.venv/bin/ruff format --check
.venv/bin/pyright --warnings
.venv/bin/lint-imports
