#!/bin/sh
# Inside the image: Chromium from Debian, agent-browser from its npm package. agent-browser's program is native, so the
# Node that fetches it does not stay.
set -eu
here=${0%/*}

apt-get update
apt-get install -y --no-install-recommends chromium fonts-liberation
rm -rf /var/lib/apt/lists/*
# Chromium's own sandbox needs user namespaces, which the container refuses: the container is the sandbox.
# Its /dev/shm is small, and what it asks for in the background would only be refused.
flags='--no-sandbox --disable-dev-shm-usage --disable-background-networking --disable-component-update'
echo "CHROMIUM_FLAGS=\"\$CHROMIUM_FLAGS $flags\"" > /etc/chromium.d/nanoclaw

python3 -m venv /tmp/node
/tmp/node/bin/pip install --disable-pip-version-check --no-cache-dir --progress-bar off --only-binary :all: --require-hashes -r "$here/node.lock"
cd "$here"
PATH=/tmp/node/bin:$PATH npm ci --ignore-scripts --no-audit --no-fund --cache /tmp/npm
rm -rf /tmp/node /tmp/npm /tmp/node-compile-cache

case $(uname -m) in
  x86_64) architecture=x64 ;;
  aarch64) architecture=arm64 ;;
  *) echo "no agent-browser for $(uname -m)" >&2; exit 1 ;;
esac
package=$here/node_modules/agent-browser
keep=agent-browser-linux-$architecture
find "$package/bin" -type f ! -name "$keep" -delete
chmod 755 "$package/bin/$keep"
# The home directory is read-only: sockets and state go to /tmp.
cat > /usr/local/bin/agent-browser <<WRAPPER
#!/bin/sh
export AGENT_BROWSER_EXECUTABLE_PATH=/usr/bin/chromium AGENT_BROWSER_NO_VERSION_CHECK=1
export AGENT_BROWSER_SOCKET_DIR=/tmp/agent-browser
exec $package/bin/$keep "\$@"
WRAPPER
chmod 755 /usr/local/bin/agent-browser
