"""How Codex is told what must hold: by `-c`, which beats config.toml. That file is the user's, once it is written."""

import json
import os
from collections.abc import Mapping
from typing import Final

from nanoclaw.wire import ContainerInput
from nanoclaw_runner.environment import RELAY

_Scalar = str | bool | int
_Value = _Scalar | Mapping[str, _Scalar]

_RENEWAL_VARIABLE: Final = "CODEX_REFRESH_TOKEN_URL_OVERRIDE"
_NOWHERE: Final = "http://127.0.0.1:1/oauth/token"
"""The host renews logins: a Codex that has none to renew with must not ask OpenAI for it, again and again."""

_SHELL_LACKS: Final = frozenset(("CODEX_HOME", _RENEWAL_VARIABLE))
"""What is Codex' own business and not that of the commands it runs."""

_CONFIG_FILE: Final = "config.toml"
_CONFIG = """\
# Codex' settings for this group. NanoClaw wrote this file once and never touches it again: it is yours.
# What NanoClaw passes on the command line wins over it: sign-in, model provider, sandbox, approvals and network.
#
# model = "gpt-5.5"                    # `providerConfig.codex.model` of the group wins over this
# model_reasoning_effort = "medium"    # low | medium | high
# web_search = "disabled"
"""


def codex_environment(environment: Mapping[str, str], home: str) -> dict[str, str]:
    """The environment of Codex itself, from that of everything an agent runs."""
    return {**environment, "CODEX_HOME": home, _RENEWAL_VARIABLE: _NOWHERE}


def command(request: ContainerInput, environment: Mapping[str, str]) -> list[str]:
    """The command line of one run. `environment` is Codex' own."""
    argv = ["codex", "exec", "--json", "--ephemeral", "--skip-git-repo-check", "--sandbox", "danger-full-access"]
    for key, value in _overrides(request, environment).items():
        argv += ["-c", f"{key}={_toml(value)}"]
    if request["model"]:
        argv += ["--model", request["model"]]
    for image in request.get("images", []):
        argv += ["--image", image]
    return [*argv, "--", "-"]  # without --, the prompt would be one more image


def _overrides(request: ContainerInput, environment: Mapping[str, str]) -> dict[str, _Value]:
    chatgpt = request["credential"] == "chatgpt" and not request.get("credentialAtGateway")
    provider: dict[str, _Scalar] = {
        "name": "nanoclaw",
        "base_url": f"{RELAY}/openai",
        "wire_api": "responses",
        "requires_openai_auth": chatgpt,  # false: an auth.json that happens to be there is not used
        "supports_websockets": False,
        "request_max_retries": 2,
        "stream_max_retries": 2,
        "stream_idle_timeout_ms": 120_000,
    }
    overrides: dict[str, _Value] = {
        "model_provider": "nanoclaw",
        "approval_policy": "never",
        "check_for_update_on_startup": False,
        "analytics.enabled": False,
        "features.unbounded_connection_retries": False,  # else it waits for a network for ever
        "features.apps": False,
        "features.plugins": False,
        "features.remote_plugin": False,
        "shell_environment_policy.inherit": "core",
        "shell_environment_policy.set": {k: v for k, v in environment.items() if k not in _SHELL_LACKS},
    }
    if chatgpt:
        overrides["chatgpt_base_url"] = f"{RELAY}/chatgpt"
        overrides["cli_auth_credentials_store"] = "file"  # there is no keyring here
    else:
        provider["experimental_bearer_token"] = "placeholder"  # noqa: S105  # the gateway puts the key in its place
    return {**overrides, "model_providers.nanoclaw": provider}


def _toml(value: _Value) -> str:
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{json.dumps(key)}={_toml(inner)}" for key, inner in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)


def write_first_config(home: str) -> None:
    """Give the user a `config.toml` to edit, on first use; one that is there, in whatever shape, stays as it is."""
    path = f"{home}/{_CONFIG_FILE}"
    if os.path.lexists(path):
        return
    unfinished = f"{home}/.{_CONFIG_FILE}.{os.getpid()}.{os.urandom(4).hex()}"
    fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(_CONFIG)
    os.rename(unfinished, path)  # noqa: PTH104  # no pathlib at a start
