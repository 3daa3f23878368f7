"""Telling OpenAI that a ChatGPT login is not to be valid any longer.

`codex logout` sends the same request, but says "logged out" whether or not anybody heard it.
"""

from collections.abc import Mapping
from typing import Final

import httpx

from nanoclaw.credentials.choice import token_url
from nanoclaw.credentials.renewal import CLIENT_ID

_SECONDS: Final = 20.0  # one small request


def revoke(refresh_token: str, secrets: Mapping[str, str]) -> str:
    """Ask the sign-in service to end a login.

    Args:
        refresh_token: of the login.
        secrets: what `.env` gives; it may name a sign-in service in place of OpenAI's.

    Returns:
        Why it did not take it; empty: it did.

    Raises:
        ConfigError: what `.env` names is no address.
    """
    url = token_url(secrets).removesuffix("/token") + "/revoke"
    request = {"token": refresh_token, "token_type_hint": "refresh_token", "client_id": CLIENT_ID}
    try:
        answer = httpx.post(url, json=request, timeout=_SECONDS)
    except httpx.TransportError:
        return "it cannot be reached"
    return "" if answer.is_success else f"it answered {answer.status_code}"
