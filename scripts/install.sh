#!/bin/sh
# install.sh host|whatsapp|dev: .venv from the lock file, with this package in it. Does nothing when nothing has changed.
# What whatsapp and dev install has all of host in it, in the same versions. PYTHON counts when .venv is made.
set -eu
cd "${0%/*}/.."
. scripts/lib.sh

# What an installation came from. Scripts in a virtual environment name its place: one that moved is no use.
origin() {
  echo "$PWD $(cat "requirements/$1.lock" pyproject.toml | cksum)"
}

usable() {
  "$1" -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
  for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
    if usable "$candidate"; then
      command -v "$candidate"
      return
    fi
  done
}

make_environment() {
  python=$(find_python)
  if [ -z "$python" ] && [ -n "${PYTHON:-}" ]; then
    fail "$PYTHON is no Python 3.11 or newer" "name one that is: make PYTHON=/path/to/python3.12"
  fi
  if [ -z "$python" ] && may_install; then
    install_packages python3 python3-venv
    python=$(find_python)
  fi
  [ -n "$python" ] || fail "Python 3.11 or newer is needed; found: $(python3 --version 2>&1 || echo none)" \
    "install it (Debian 12: apt install python3 python3-venv; macOS: brew install python), or make PYTHON=/path/to/python3.12"
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null && may_install; then
    install_packages python3-venv
  fi
  "$python" -c 'import ensurepip, venv' 2>/dev/null || fail "$python has no venv module" \
    "ask your administrator for the package python3-venv, or name another: make PYTHON=/path/to/python3.12"
  rm -rf .venv
  step "making .venv with $("$python" --version)" "$python" -m venv .venv || fail "$python could not make .venv" "see above"
  echo "$PWD" >.venv/.place
}

if [ "$(cat ".venv/.installed-$1" 2>/dev/null)" = "$(origin "$1")" ] && .venv/bin/python -c 'import nanoclaw' 2>/dev/null; then
  exit 0
fi
if [ "$(cat .venv/.place 2>/dev/null)" != "$PWD" ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
  make_environment
fi

# The WhatsApp library looks at file types with libmagic, and says nothing of use where that is missing.
provide_libmagic() {
  if [ "$(uname -s)" = Linux ] && ! ldconfig -p 2>/dev/null | grep -q 'libmagic\.so\.1'; then
    may_install || fail "WhatsApp needs the system library libmagic" "ask your administrator: apt install libmagic1"
    install_packages libmagic1
  fi
}

[ "$1" = host ] || provide_libmagic

install() {
  .venv/bin/pip install --disable-pip-version-check --progress-bar off "$@"
}
step "installing the packages of requirements/$1.lock" install --require-hashes -r "requirements/$1.lock" ||
  fail "the Python packages could not be installed" "see above: does this machine reach a Python package index? Then run make again"
step "installing nanoclaw" install --no-deps --no-build-isolation --editable . ||
  fail "nanoclaw itself could not be installed" "see above"
for kind in host "$1"; do
  origin "$kind" >".venv/.installed-$kind"
done
