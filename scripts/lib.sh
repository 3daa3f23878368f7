# shellcheck shell=sh
# Sourced by the scripts beside it, which start in the checkout's top directory.

# fail WHAT TO_DO
fail() {
  printf 'nanoclaw: %s\n          %s\n' "$1" "$2" >&2
  exit 1
}

has() {
  command -v "$1" >/dev/null 2>&1
}

may_install() {
  [ "$(id -u)" = 0 ] && has apt-get
}

# step TEXT COMMAND…: run it with its output kept back; after two seconds show that it is alive; show the end of its output
# if it fails.
step() {
  text=$1
  shift
  log=$(mktemp)
  begun=$(date +%s)
  show_life &
  watcher=$!
  trap 'kill "$watcher"; rm -f "$log"; exit 130' INT TERM HUP
  status=0
  "$@" >"$log" 2>&1 </dev/null || status=$?
  trap - INT TERM HUP
  kill "$watcher" 2>/dev/null || true
  wait "$watcher" 2>/dev/null || true
  passed=$(($(date +%s) - begun))
  [ ! -t 1 ] || printf '\r\033[K'
  if [ "$status" != 0 ]; then
    printf '%s: failed after %s s\n' "$text" "$passed"
    tail -n 20 "$log" >&2
  elif [ "$passed" -ge 2 ]; then
    printf '%s: done in %s s\n' "$text" "$passed"
  fi
  rm -f "$log"
  return "$status"
}

# The part of step that draws: one line that changes in a terminal, a line every ten seconds elsewhere.
show_life() {
  due=2
  while kill -0 $$ 2>/dev/null; do
    sleep 1 >/dev/null 2>&1
    passed=$(($(date +%s) - begun))
    [ "$passed" -ge "$due" ] || continue
    line=$(tail -n 1 "$log" | LC_ALL=C tr -cd ' -~' | cut -c 1-60)
    if [ -t 1 ]; then
      printf '\r\033[K%s … %s s  %s' "$text" "$passed" "$line"
    else
      printf '%s … %s s  %s\n' "$text" "$passed" "$line"
      due=$((passed + 10))
    fi
  done
}

# install_packages NAME…: Debian packages, those that are missing; the caller has asked may_install.
install_packages() {
  missing=
  for package; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
  done
  [ -n "$missing" ] || return 0
  export DEBIAN_FRONTEND=noninteractive
  step "reading the list of Debian packages" apt-get update ||
    fail "apt cannot read its list of packages" "check this machine's network and /etc/apt, then run make again"
  # shellcheck disable=SC2086 # names, split on purpose
  step "installing$missing" apt-get install -y --no-install-recommends $missing ||
    fail "apt could not install$missing" "see above; then run make again"
}
