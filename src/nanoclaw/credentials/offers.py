"""What there is to sign in with, read from where it lies; nothing is changed by looking."""

from collections.abc import Mapping

from nanoclaw.clock import Clock, SystemClock
from nanoclaw.config import CredentialMode, Home
from nanoclaw.credentials.choice import Credential, LoginOffer, Offers, choose
from nanoclaw.credentials.given import found_login, has_other_file, was_visited
from nanoclaw.credentials.keys import layered, load_group_secrets
from nanoclaw.credentials.login import Login
from nanoclaw.credentials.renewal import why_ended
from nanoclaw.credentials.store import Place
from nanoclaw.errors import CredentialError
from nanoclaw.model import Folder, RegisteredGroup


def resolve(
    group: RegisteredGroup,
    secrets: Mapping[str, str],
    home: Home,
    mode: CredentialMode = "mounted",
    clock: Clock | None = None,
) -> Credential:
    """How a group's next run signs in, as far as can be told without asking anybody.

    Args:
        group: the group.
        secrets: what the home's `.env` gives, by name.
        home: where logins lie.
        mode: the setting `credentials`.
        clock: another than the system's.

    Raises:
        CredentialError: nobody is signed in, or what is there cannot be used; the hint names the command.
        ConfigError: a base URL in `.env` is none, or the group's own `.env` is broken.
    """
    return choose(group, offers(group, secrets, home), mode, home, (clock or SystemClock()).now())


def offers(group: RegisteredGroup, secrets: Mapping[str, str], home: Home) -> Offers:
    """Everything that a group could sign in with; see `resolve`."""
    own = load_group_secrets(home, group.folder)
    everything = layered(secrets, own)
    if group.provider != "codex":
        return Offers(secrets=everything, own_names=frozenset(own))
    return Offers(
        secrets=everything,
        own_names=frozenset(own),
        own_login=own_offer(home, group.folder),
        host_login=stored_offer(Place(home)),
        other_file=has_other_file(home, group.folder),
    )


def own_offer(home: Home, folder: Folder) -> LoginOffer | None:
    """A group's own login: one that a person has put into its `.codex` goes before the one that the host keeps."""
    found = None if was_visited(home, folder) else found_login(home, folder)
    if found is not None:
        return _offer(Place(home, folder), found)
    return stored_offer(Place(home, folder))


def stored_offer(place: Place) -> LoginOffer | None:
    """The login that the host keeps in a place."""
    try:
        login = place.read()
    except CredentialError as error:
        if error.retryable:
            raise
        return None
    return None if login is None else _offer(place, login)


def _offer(place: Place, login: Login) -> LoginOffer:
    return LoginOffer(place=place, login=login, problem=why_ended(place, login))
