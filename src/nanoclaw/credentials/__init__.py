"""Who is signed in for a group, how its agent's CLI signs in, and what the gateway adds on the way out."""

from nanoclaw.config import Home
from nanoclaw.credentials.choice import Credential, choose
from nanoclaw.credentials.login import read_login
from nanoclaw.credentials.redaction import redact
from nanoclaw.model import RegisteredGroup

__all__ = ["Credential", "redact", "resolve"]


def resolve(group: RegisteredGroup, secrets: dict[str, str], home: Home) -> Credential:
    """How a group's next run signs in; reads one small file.

    Args:
        group: the group.
        secrets: what `.env` gives, by name.
        home: where the group's own login would lie.

    Raises:
        CredentialError: nobody is signed in, or what is there cannot be used; the hint names the command.
        ConfigError: a base URL in `.env` is none.
    """
    login = read_login(home, group.folder) if group.provider == "codex" else "none"
    return choose(group, secrets, login, home)
