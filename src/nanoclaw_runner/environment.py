"""The environment of a provider's CLI, and so of all that the agent runs: built from nothing, and without a secret."""

from collections.abc import Mapping

from nanoclaw.wire import AGENT_HOME, RELAY_PORT, ContainerInput

RELAY = f"http://127.0.0.1:{RELAY_PORT}"
"""Where the gateway is, as seen from inside."""

_DEFAULTS = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
_CERTIFICATES = (
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "PIP_CERT",
)
_LOOPBACK = "127.0.0.1,localhost"


def agent_environment(request: ContainerInput, image: Mapping[str, str]) -> dict[str, str]:
    """The environment for this run.

    Args:
        image: the runner's own, of which only `PATH`, `LANG` and the variables that name certificate files are kept.
    """
    return {
        **_DEFAULTS,
        **{name: image[name] for name in (*_DEFAULTS, *_CERTIFICATES) if name in image},
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), RELAY),
        **dict.fromkeys(("NO_PROXY", "no_proxy"), _LOOPBACK),
        "HOME": AGENT_HOME,
        "USER": "node",
        "LOGNAME": "node",
        "SHELL": "/bin/bash",
        "TERM": "dumb",
        "TZ": request["timezone"],
        "XDG_CACHE_HOME": "/tmp/.cache",  # noqa: S108  # the sandbox's own; of the home only the CLIs' directories can be written
        "npm_config_cache": "/tmp/.cache/npm",  # noqa: S108  # it does not read the one above
        "NODE_USE_ENV_PROXY": "1",  # else Node's own fetch takes no notice of the proxy
    }
