"""What a sign-in says while it goes on. The first is `SignInStarted`, the last is one of the other two."""

from dataclasses import dataclass
from datetime import datetime

from nanoclaw.credentials.accounts import Account


@dataclass(frozen=True, kw_only=True, slots=True)
class SignInStarted:
    """Somebody is to open `url`, and to enter `code` there if there is one."""

    url: str
    code: str | None
    expires_at: datetime
    """After that it is too late."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SignInDone:
    """The sign-in is stored."""

    account: Account


@dataclass(frozen=True, kw_only=True, slots=True)
class SignInFailed:
    """Nothing was changed."""

    reason: str
    hint: str


SignInEvent = SignInStarted | SignInDone | SignInFailed
