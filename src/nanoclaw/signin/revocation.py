"""Signing out, and telling OpenAI that a ChatGPT login is not to be valid any longer.

`codex logout` sends the same request, but says "logged out" whether or not anybody heard it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import httpx

from nanoclaw.config import Home, load_secrets
from nanoclaw.credentials.accounts import log_out
from nanoclaw.credentials.choice import token_url
from nanoclaw.credentials.login import Login
from nanoclaw.credentials.offers import own_offer, stored_offer
from nanoclaw.credentials.renewal import CLIENT_ID
from nanoclaw.credentials.store import Place
from nanoclaw.model import Folder
from nanoclaw.providers import ProviderName

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


@dataclass(frozen=True, kw_only=True, slots=True)
class SignedOut:
    """What became of signing out."""

    removed: tuple[str, ...]
    """What was there, for people."""
    login: Login | None
    """The ChatGPT login whose tokens were to be revoked, if there was one that can be read."""
    problem: str
    """Why it could not be revoked; empty: it was, or there was none."""


def sign_out(home: Home, provider: ProviderName, folder: Folder | None) -> SignedOut:
    """Remove login and keys of the host (or of a group), and have a ChatGPT login revoked. Asks OpenAI; it blocks.

    Raises:
        CredentialError: something cannot be removed.
    """
    offer = None
    if provider == "codex":
        offer = own_offer(home, folder) if folder else stored_offer(Place(home))
    removed = log_out(home, provider, folder)
    if offer is None:
        return SignedOut(removed=removed, login=None, problem="")
    token = offer.login.refresh_token
    problem = revoke(token, load_secrets(home)) if token else "it has no refresh token"
    return SignedOut(removed=removed, login=offer.login, problem=problem)
