#!/bin/sh
# engine.sh any|all: something to run agents in. any: the engine that is there, else podman, else bubblewrap. all: podman and
# bubblewrap, and what else the tests drive.
set -eu
cd "${0%/*}/.."
. scripts/lib.sh

podman_packages="podman runc mmdebstrap"
test_packages="bubblewrap git curl chromium fonts-dejavu-core"

bubblewrap_works() {
  has bwrap && bwrap --unshare-user --unshare-pid --unshare-net --ro-bind / / true 2>/dev/null
}

all() {
  if may_install; then
    # shellcheck disable=SC2086 # names, split on purpose
    install_packages $podman_packages $test_packages
  fi
  for program in podman bwrap git curl chromium; do
    has "$program" || fail "the tests need $program" \
      "ask your administrator: apt install $podman_packages uidmap $test_packages"
  done
}

any() {
  if has podman || { has docker && docker info >/dev/null 2>&1; }; then
    return
  fi
  if [ "$(uname -s)" = Darwin ] && has container; then
    return
  fi
  if may_install; then
    # shellcheck disable=SC2086 # names, split on purpose
    install_packages $podman_packages
    return
  fi
  if bubblewrap_works; then
    echo "no container engine here: agents run under bubblewrap, which isolates less (podman is the better choice)"
    return
  fi
  case $(uname -s) in
    Darwin) advice="install one: brew install podman && podman machine init --now, or Docker Desktop" ;;
    *) advice="ask your administrator for the packages podman and uidmap (the better choice), or bubblewrap" ;;
  esac
  if has bwrap; then
    fail "no container engine is here, and bubblewrap may not make user namespaces on this machine" "$advice"
  fi
  fail "nothing is here to run agents in: no podman, no docker, no bubblewrap" "$advice"
}

"$1"
