"""ChatGPT's sign-in as Codex sees it: rotating refresh tokens, device codes, and the `auth.json` that comes of them."""

import base64
import json
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from nanoclaw.testing.models.answers import Stream, Whole, refusal
from nanoclaw.testing.models.server import RecordedRequest

ACCOUNT_ID: Final = "account-synthetic"
_LIFETIME: Final = timedelta(days=10)
_CLAIMS: Final = "https://api.openai.com/auth"

TokenRefusal = Literal["refresh_token_expired", "refresh_token_invalidated", "server_error"]
"""What the token endpoint can be told to answer: 401 with this code, or 500."""


RenewalStep = Literal["asked", "answering"]
"""A renewal has come in; it has been decided, and its answer is about to leave."""


class SignIn:
    """The token endpoint (`POST …/oauth/token`), `…/oauth/revoke`, and the device sign-in (`…/deviceauth/…`).

    A refresh token works once and is replaced; the first that is not known starts a family of its own. One that comes
    back is refused with `refresh_token_reused`, and from then on its whole family with `refresh_token_invalidated`.
    All attributes may be set at any time.
    """

    def __init__(self) -> None:
        """Start with nothing issued."""
        self.refuse_with: TokenRefusal | None = None
        self.account_id = ACCOUNT_ID
        """Whose tokens are issued."""
        self.lifetime = _LIFETIME
        """Of the access tokens that are issued."""
        self.pending_polls = 1
        """How often a device sign-in still answers that the person has not confirmed it."""
        self.code_is_over = False
        """Whether a device sign-in answers that its code does not work any more."""
        self.watch: Callable[[RenewalStep], None] | None = None
        """Told, on the server's thread, how far a renewal is; it may end whoever asked."""
        self.lose_answers = False
        """Whether renewals take place and their answers are lost on the way."""
        self.sent: list[str] = []
        """Every refresh token that came to be renewed, oldest first."""
        self.reused: list[str] = []
        """Those among them that had been used up: nobody should ever send one."""
        self._guard = threading.Lock()
        self._families: dict[str, str] = {}  # every refresh token ever seen: the first of its family
        self._spent: set[str] = set()
        self._revoked: set[str] = set()

    def answer(self, request: RecordedRequest) -> Whole | Stream | None:
        """The answer to a request, or None when it has nothing to do with signing in."""
        if request.path.endswith("/deviceauth/usercode"):
            return Whole(200, {"device_auth_id": "device-1", "user_code": "ABCD-1234", "interval": "1"})
        if request.path.endswith("/deviceauth/token"):
            return self._poll()
        form = request.body or {}
        if request.path.endswith("/oauth/revoke"):
            return self._revoke(str(form["token"]))
        if not request.path.endswith("/oauth/token"):
            return None
        if "refresh_token" in form:
            return self._renew(str(form["refresh_token"]))
        with self._guard:
            return self._grant(_new_token(), None)

    def _renew(self, token: str) -> Whole | Stream:
        if self.watch:
            self.watch("asked")
        with self._guard:
            self.sent.append(token)
            answer = self._refresh(token)
        if self.watch:
            self.watch("answering")
        return Stream((), ending="dropped") if self.lose_answers else answer

    def _poll(self) -> Whole:
        if self.code_is_over:
            return refusal(400, "The code has expired.", code="expired_token")
        with self._guard:
            self.pending_polls -= 1
            if self.pending_polls >= 0:
                return refusal(403, "Not confirmed yet.", code="deviceauth_authorization_pending")
        return Whole(200, {"authorization_code": "code-1", "code_challenge": "challenge", "code_verifier": "verifier"})

    def _revoke(self, token: str) -> Whole:
        with self._guard:
            self._revoked.add(self._families.setdefault(token, token))
        return Whole(200, {})

    def _refresh(self, token: str) -> Whole:
        if self.refuse_with == "server_error":
            return refusal(500, "The server had an error.", type="server_error")
        if self.refuse_with:
            return refusal(401, "The refresh token is refused.", code=self.refuse_with)
        family = self._families.setdefault(token, token)
        if token in self._spent:
            self.reused.append(token)
            self._revoked.add(family)
            return refusal(401, "The refresh token has already been used.", code="refresh_token_reused")
        if family in self._revoked or not token:
            return refusal(401, "The refresh token was revoked.", code="refresh_token_invalidated")
        self._spent.add(token)
        return self._grant(_new_token(), family)

    def _grant(self, token: str, family: str | None) -> Whole:
        self._families[token] = family or token
        granted = {**_tokens(self.account_id, self.lifetime), "refresh_token": token}
        return Whole(200, {**granted, "token_type": "Bearer", "expires_in": int(self.lifetime.total_seconds())})


def synthetic_auth_json(
    *, account_id: str = ACCOUNT_ID, expires_in: float = _LIFETIME.total_seconds(), refresh_token: str | None = None
) -> dict[str, Any]:
    """What `codex login` writes into `auth.json` for a ChatGPT sign-in. The tokens are unsigned: Codex does not look.

    Args:
        account_id: the ChatGPT account.
        expires_in: seconds until the access token expires; negative: it has.
        refresh_token: a new one by default; give an empty one for an `auth.json` that cannot be refreshed.
    """
    refreshable = {"refresh_token": _new_token() if refresh_token is None else refresh_token}
    return {
        "auth_mode": "chatgpt",
        "OPENAI_API_KEY": None,
        "tokens": {**_tokens(account_id, timedelta(seconds=expires_in)), **refreshable, "account_id": account_id},
        "last_refresh": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }


def is_expired(authorization: str) -> bool:
    """Whether a bearer is an access token whose time is over; API keys and all else that is no such token never are."""
    try:
        _, claims, _ = authorization.split(".")
        return json.loads(base64.urlsafe_b64decode(claims + "=="))["exp"] < datetime.now(UTC).timestamp()
    except (ValueError, KeyError):
        return False


def _tokens(account_id: str, lifetime: timedelta) -> dict[str, str]:
    now = datetime.now(UTC)
    account = {"chatgpt_account_id": account_id, "chatgpt_plan_type": "plus", "chatgpt_user_id": f"user-{account_id}"}
    claims = {"iat": int(now.timestamp()), "exp": int((now + lifetime).timestamp()), _CLAIMS: account}
    # The identifier keeps two tokens of the same second apart.
    return {
        "id_token": _unsigned({**claims, "email": "person@example.test"}),
        "access_token": _unsigned({**claims, "jti": uuid.uuid4().hex}),
    }


def _unsigned(claims: dict[str, Any]) -> str:
    return f"{_encoded({'alg': 'none', 'typ': 'JWT'})}.{_encoded(claims)}.unsigned"


def _encoded(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def _new_token() -> str:
    return f"rt-{uuid.uuid4().hex}"
