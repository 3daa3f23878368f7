"""A ChatGPT login as `auth.json` holds it: reading it, what a run is given of it, what a renewal makes of it. Pure.

Claims are read from the tokens and not verified: they decide when to renew and what people are shown, nothing else.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from nanoclaw.clock import from_iso, iso
from nanoclaw.errors import CredentialError

MAX_BYTES: Final = 256 << 10
"""Of an `auth.json`; a real one has some 6 KiB."""

_MARGIN: Final = timedelta(minutes=5)  # Codex itself looks for a new token when it has less than that
_AGE: Final = timedelta(days=8)  # of a token that does not say when it ends; Codex does the same
_AHEAD: Final = 0.2  # of a token's lifetime: two days of ten, in which the server may be out of reach
_LAST: Final = timedelta(seconds=30)  # a token with less than that is of no use to anybody
_CLAIMS: Final = "https://api.openai.com/auth"


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Login:
    """What one ChatGPT login consists of."""

    id_token: str
    access_token: str
    refresh_token: str
    """Works once, at the token endpoint. Empty: the login ends with its access token."""
    account_id: str
    last_refresh: datetime | None

    def __repr__(self) -> str:
        return f"Login({self.email or 'unknown'}, ends {self.expires_at})"

    @property
    def email(self) -> str:
        """Whose it is, as the id token says; empty if it does not."""
        return _text(_claims(self.id_token).get("email"))

    @property
    def plan(self) -> str:
        """e.g. `plus`; empty if the id token does not say."""
        return _text(_details(self.id_token).get("chatgpt_plan_type"))

    @property
    def expires_at(self) -> datetime | None:
        """When the access token ends, if it says so."""
        return _instant(_claims(self.access_token).get("exp"))

    @property
    def lifetime(self) -> timedelta | None:
        """How long the access token is good for from its issue, if it says so."""
        issued = _instant(_claims(self.access_token).get("iat")) or self.last_refresh
        return self.expires_at - issued if self.expires_at and issued and issued < self.expires_at else None

    @property
    def tokens(self) -> tuple[str, ...]:
        """All that must not be seen."""
        return tuple(token for token in (self.id_token, self.access_token, self.refresh_token) if token)

    def is_over(self, now: datetime) -> bool:
        """Whether the access token has ended, or does so before anybody could use it."""
        return self.expires_at is not None and self.expires_at <= now + _LAST

    def is_young(self, now: datetime) -> bool:
        """Whether more than half of the access token's time is left."""
        return bool(self.expires_at and self.lifetime and self.expires_at - now > self.lifetime / 2)

    @property
    def renew_at(self) -> datetime | None:
        """When to renew it ahead of need; None: at once."""
        if self.expires_at is None:
            return self.last_refresh and self.last_refresh + _AGE
        return self.expires_at - (self.lifetime or timedelta()) * _AHEAD

    def is_needed_anew(self, now: datetime, seconds: float) -> bool:
        """Whether a run of so many seconds needs a newer access token than this.

        Tokens that never live as long as the run are renewed when little is left of them.
        """
        if self.expires_at is None:
            return self.last_refresh is None or now - self.last_refresh > _AGE
        wanted = timedelta(seconds=seconds) + _MARGIN
        if self.lifetime is not None and self.lifetime <= wanted:
            wanted = _MARGIN
        return self.expires_at - now < wanted

    def renewed(self, answer: Mapping[str, Any], now: datetime) -> "Login":
        """The login after the token endpoint's answer; what the answer leaves out stays.

        Raises:
            ValueError: it has no access token.
        """
        if not _token(answer, "access_token"):
            raise ValueError("no access token in the answer")
        return replace(
            self,
            id_token=_token(answer, "id_token") or self.id_token,
            access_token=_token(answer, "access_token"),
            refresh_token=_token(answer, "refresh_token") or self.refresh_token,
            last_refresh=now,
        )

    def as_file(self) -> bytes:
        """The whole login as `auth.json`."""
        tokens = {
            "id_token": self.id_token,
            "access_token": self.access_token,
            "refresh_token": self.refresh_token,
            "account_id": self.account_id or None,
        }
        refreshed = iso(self.last_refresh) if self.last_refresh else None
        auth = {"auth_mode": "chatgpt", "OPENAI_API_KEY": None, "tokens": tokens, "last_refresh": refreshed}
        return json.dumps(auth, indent=2).encode()

    def for_run(self, now: datetime) -> bytes:
        """What a run is given: the same without the refresh token.

        Codex wants the field, if only empty, and a date in `last_refresh`; with an old one it would try to renew.
        """
        return replace(self, refresh_token="", last_refresh=now).as_file()


def parse_login(content: bytes) -> Login:
    """Read an `auth.json`, whoever wrote it.

    Raises:
        CredentialError: it is no ChatGPT login; nothing of its content is repeated.
    """
    try:
        loaded: Any = json.loads(content)
    except (ValueError, RecursionError):
        raise CredentialError("it is not valid JSON", "Codex makes an auth.json with `codex login`") from None
    auth = cast("dict[str, Any]", loaded) if isinstance(loaded, dict) else {}
    tokens: Any = auth.get("tokens")
    if auth.get("auth_mode") == "apikey" or (not tokens and _text(auth.get("OPENAI_API_KEY"))):
        raise CredentialError("it holds an API key and no ChatGPT login", "give the key to `--api-key` instead")
    fields = cast("dict[str, Any]", tokens) if isinstance(tokens, dict) else {}
    if not (_token(fields, "access_token") and _claims(_token(fields, "id_token"))):
        raise CredentialError("it is no ChatGPT login", "Codex makes an auth.json with `codex login`")
    return Login(
        id_token=_token(fields, "id_token"),
        access_token=_token(fields, "access_token"),
        refresh_token=_token(fields, "refresh_token"),
        account_id=_token(fields, "account_id") or _token(_details(fields["id_token"]), "chatgpt_account_id"),
        last_refresh=_when(auth.get("last_refresh")),
    )


def _token(fields: Mapping[str, Any], name: str) -> str:
    """A field that may go into a header; anything else is none."""
    text = _text(fields.get(name))
    return text if text.isascii() and text.isprintable() and " " not in text else ""


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _when(value: object) -> datetime | None:
    try:
        return from_iso(_text(value))
    except (ValueError, OverflowError):
        return None


def _instant(value: object) -> datetime | None:
    try:
        return datetime.fromtimestamp(float(cast("float", value)), UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def _claims(token: str) -> dict[str, Any]:
    """What a JSON Web Token says; nothing for what is none."""
    try:
        _, payload, _ = token.split(".")
        loaded: Any = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", loaded) if isinstance(loaded, dict) else {}


def _details(token: str) -> dict[str, Any]:
    details: Any = _claims(token).get(_CLAIMS)
    return cast("dict[str, Any]", details) if isinstance(details, dict) else {}
