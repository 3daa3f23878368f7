"""Who is signed in for a group, how its agent's CLI signs in, and what the gateway adds on the way out.

login     a ChatGPT login: reading it, what a run may see of it; pure
choice    which way of signing in a run takes; pure
files     the private places below `credentials/`
store     where logins lie, and the lock of whoever changes one
keys      API keys and tokens in `.env`
spent     which refresh tokens were sent
renewal   getting a new access token
given     the `auth.json` in a group's `.codex`
offers    what there is to sign in with
keeper    the host's part: renews, gives, takes back
accounts  the commands' part: shows, takes over, removes
"""

from nanoclaw.credentials.choice import Credential
from nanoclaw.credentials.keeper import Access, Keeper
from nanoclaw.credentials.offers import resolve
from nanoclaw.credentials.redaction import redact

__all__ = ["Access", "Credential", "Keeper", "redact", "resolve"]
