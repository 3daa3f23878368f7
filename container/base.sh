#!/bin/sh
# Makes the image to build on, where no image registry can be reached: a minimal Debian with Python, from the Debian mirror
# and with the certificates and the package index that this machine is set up for.
#
#   base.sh TAG ENGINE [OPTION…]      as root; ENGINE is podman or docker
set -eu
tag=$1
shift
suite=trixie
certificates=/etc/ssl/certs/ca-certificates.crt

# First http(s) address of a Debian archive in apt's configuration, in either of its two notations.
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
  grep -E '^(deb|URIs:)[[:space:]]' | grep -oE 'https?://[^][:space:]]+/debian/?([[:space:]]|$)' | head -n 1 | tr -d '[:space:]')
if [ -z "$mirror" ]; then
  echo "apt on this machine has no Debian archive to take packages from" >&2
  exit 1
fi
index=$(python3 -m pip config get global.index-url 2>/dev/null | grep -E '^https?://[^@]*$' || true)

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM
cat > "$folder/slim" <<'SLIM'
APT::Keep-Downloaded-Packages "false";
Acquire::Languages "none";
SLIM

echo "fetching Debian $suite"
# shellcheck disable=SC2016 # the hook's own $1
mmdebstrap --variant=minbase --mode=root --include=ca-certificates,python3,python3-venv --dpkgopt=force-unsafe-io \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --customize-hook="copy-in $certificates /etc/ssl/certs" \
  --customize-hook="upload $folder/slim /etc/apt/apt.conf.d/slim" \
  --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*' \
  "$suite" "$folder/base.tar" "$mirror"

echo "importing it as $tag"
"$@" import --change "ENV SSL_CERT_FILE=$certificates" --change "ENV PIP_CERT=$certificates" \
  --change "ENV REQUESTS_CA_BUNDLE=$certificates" --change "ENV NODE_EXTRA_CA_CERTS=$certificates" \
  ${index:+--change "ENV PIP_INDEX_URL=$index"} "$folder/base.tar" "$tag"
