"""The host's keeper of logins: renews them ahead of need, gives each run what it may see, and takes it back."""

from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

import anyio
import anyio.to_thread
import structlog

from nanoclaw.clock import Clock
from nanoclaw.config import CredentialMode, Home, load_secrets
from nanoclaw.credentials.choice import Credential, LoginOffer, chatgpt_headers, choose, token_url
from nanoclaw.credentials.given import (
    adopt_found,
    forget_visit,
    found_login,
    give,
    note_visit,
    take_back,
    visited_groups,
)
from nanoclaw.credentials.login import Login
from nanoclaw.credentials.offers import offers, stored_offer
from nanoclaw.credentials.renewal import renew, sign_in_hint
from nanoclaw.credentials.store import Place
from nanoclaw.errors import ConfigError, CredentialError, SandboxError
from nanoclaw.model import Folder, RegisteredGroup

_LONGEST_PAUSE: Final = 3600.0  # logins may be changed by commands meanwhile; a look costs a few files
_SHORTEST_PAUSE: Final = 60.0  # between two tries while the server cannot be reached
_SUSPECT_AGAIN: Final = timedelta(hours=1)  # an agent can feign a refusal: so often it is believed
_WAYS: Final = 3  # the group's own login, the host's, a key: each that turns out to be dead is passed over once

log = structlog.stdlib.get_logger()


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """How one run signs in, and what it is given."""

    credential: Credential
    secrets: Mapping[str, str] = field(repr=False)
    """What must not be seen in its logs, by name."""
    given: bytes | None = field(default=None, repr=False)
    """The `auth.json` that it finds in its `.codex`."""


class Keeper:
    """Owns every ChatGPT login of a home; nobody else asks the token endpoint."""

    def __init__(self, home: Home, mode: CredentialMode, clock: Clock, folders: Callable[[], Iterable[Folder]]) -> None:
        """Nothing is looked at yet.

        Args:
            home: where logins lie.
            mode: the setting `credentials`.
            clock: decides what has run out.
            folders: those of the registered groups, at any time.
        """
        self._home = home
        self._mode: CredentialMode = mode
        self._clock = clock
        self._folders = folders
        self._newest: dict[Place, Login] = {}
        self._renewing: defaultdict[Place, anyio.Lock] = defaultdict(anyio.Lock)
        self._suspected: set[str] = set()
        self._got: set[str] = set()
        self._visited: set[Folder] = set()
        self._unchecked: set[Folder] = set()
        self._warned: set[str] = set()

    async def run(self) -> None:
        """Renew ahead of need, for ever."""
        try:
            while True:
                pause = await self.renew_ahead()
                await anyio.sleep(pause)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._forget_visits)

    async def recover(self) -> None:
        """Take over from a host that crashed, once no agent of it is left."""
        await anyio.to_thread.run_sync(self._look_through)

    async def for_run(self, group: RegisteredGroup, seconds: float) -> Access:
        """How a group's run signs in that may take so long.

        Raises:
            CredentialError: nobody is signed in, or what is there cannot be used; `retryable` if that may pass.
            ConfigError: a `.env` is broken.
        """
        secrets = load_secrets(self._home)
        await self._look(group.folder)
        for _ in range(_WAYS):
            there = offers(group, secrets, self._home)
            credential = choose(group, there, self._mode, self._home, self._clock.now())
            if credential.login is None:
                return Access(credential=credential, secrets=self._unseen(there.secrets))
            try:
                login = await self._good_for(credential.login, seconds, token_url(secrets))
            except CredentialError as error:
                if error.retryable:
                    raise
                log.warning("login.ended", where=credential.where, problem=str(error))
                continue
            return self._with(credential, login, there.secrets)
        hint = f"run `{self._home.program} auth status`"
        raise CredentialError(f"the ChatGPT login of {group.name} cannot be used", hint)

    @asynccontextmanager
    async def lent(self, folder: Folder, access: Access) -> AsyncGenerator[None]:
        """Let the group's agent have what it is given for as long as the context lasts, then take it back.

        Raises:
            SandboxError: on entering, when the group's directories do not let it be given.
        """
        self._unchecked.add(folder)
        if folder not in self._visited or access.given is not None:
            await anyio.to_thread.run_sync(self._lend, folder, access.given)
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._take_back, folder)

    def suspect(self, access: Access) -> bool:
        """The provider has refused a run's login: whether another attempt with a newer token can help."""
        offer = access.credential.login
        if offer is None or offer.problem:
            return False
        refreshed = offer.login.last_refresh
        if refreshed is not None and self._clock.now() - refreshed < _SUSPECT_AGAIN:
            return False
        self._suspected.add(offer.login.access_token)
        return True

    async def renew_ahead(self) -> float:
        """Renew every login that is due; answers after how many seconds to look again."""
        try:
            url = token_url(load_secrets(self._home))
        except (ConfigError, OSError, UnicodeError) as error:
            log.error("login.not_renewed", problem=str(error))  # noqa: TRY400
            return _LONGEST_PAUSE
        places = [Place(self._home), *(Place(self._home, folder) for folder in self._folders())]
        pauses = [await self._renew_ahead(place, url) for place in places]
        return min(_LONGEST_PAUSE, max(_SHORTEST_PAUSE, min(pauses)))

    async def _renew_ahead(self, place: Place, url: str) -> float:
        try:
            offer = stored_offer(place)
            if offer is None:
                return _LONGEST_PAUSE
            if offer.problem:
                self._warn(offer)
                return _LONGEST_PAUSE
            wait = offer.login.renew_at and offer.login.renew_at - self._clock.now()
            if wait is not None and wait > timedelta():
                return wait.total_seconds()
            await self._renew(place, offer.login, url)
        except CredentialError as error:
            log.warning("login.not_renewed", where=place.where, problem=str(error), hint=error.hint)
        return _SHORTEST_PAUSE

    async def _good_for(self, offer: LoginOffer, seconds: float, url: str) -> Login:
        """The login with an access token that outlives a run of so many seconds, if one is to be had."""
        login, now = offer.login, self._clock.now()
        if offer.problem or not self._is_wanted_anew(login, seconds):
            return login
        try:
            return await self._renew(offer.place, login, url)
        except CredentialError as error:
            if login.is_over(now):
                raise
            log.warning("login.not_renewed", where=offer.place.where, problem=str(error), hint=error.hint)
            return login

    def _is_wanted_anew(self, login: Login, seconds: float) -> bool:
        now = self._clock.now()
        if login.access_token in self._suspected:
            return True
        # Where the server's tokens end that soon, the one that was just got is as good as the next.
        is_as_good = login.access_token in self._got and login.is_young(now)
        return login.is_needed_anew(now, seconds) and not is_as_good

    async def _renew(self, place: Place, login: Login, url: str) -> Login:
        async with self._renewing[place]:
            renewed = await renew(place, login, url, self._clock)
        self._suspected.discard(login.access_token)
        self._got.discard(login.access_token)
        self._got.add(renewed.access_token)
        self._newest[place] = renewed
        return renewed

    def _with(self, credential: Credential, login: Login, secrets: Mapping[str, str]) -> Access:
        offer = credential.login
        assert offer is not None, "only ChatGPT logins come here"
        self._newest[offer.place] = login
        route = credential.route
        if credential.at_gateway:
            route = replace(route, headers=_NewestHeaders(self._newest, offer.place))
        credential = replace(credential, login=replace(offer, login=login), route=route)
        given = None if credential.at_gateway else login.for_run(self._clock.now())
        return Access(credential=credential, secrets=self._unseen(secrets), given=given)

    def _unseen(self, secrets: Mapping[str, str]) -> dict[str, str]:
        tokens = [token for login in self._newest.values() for token in login.tokens]
        return {**secrets, **{f"login token {number}": token for number, token in enumerate(tokens)}}

    def _warn(self, offer: LoginOffer) -> None:
        if offer.problem not in self._warned:
            self._warned.add(offer.problem)
            hint, ends = sign_in_hint(offer.place), str(offer.login.expires_at)
            log.warning("login.ending", where=offer.place.where, problem=offer.problem, ends=ends, hint=hint)

    async def _look(self, folder: Folder) -> None:
        """See to what lies in the group's `.codex` before its next agent does."""
        if folder in self._unchecked:
            await anyio.to_thread.run_sync(self._take_back, folder)
        elif found_login(self._home, folder) is not None:
            await anyio.to_thread.run_sync(self._adopt, folder)

    def _look_through(self) -> None:
        for folder in visited_groups(self._home):
            self._unchecked.add(folder)
            self._visited.add(folder)
            self._take_back(folder)
        self._forget_visits()
        for folder in self._folders():
            if folder not in self._unchecked:
                self._adopt(folder)

    def _adopt(self, folder: Folder) -> None:
        try:
            adopt_found(self._home, folder)
        except (OSError, CredentialError) as error:
            log.error("login.not_adopted", folder=folder, problem=str(error))  # noqa: TRY400

    def _lend(self, folder: Folder, given: bytes | None) -> None:
        if folder not in self._visited:
            try:
                note_visit(self._home, folder)
            except CredentialError as error:
                raise SandboxError(str(error), error.hint, retryable=error.retryable) from error
            self._visited.add(folder)
        if given is not None:
            give(self._home, folder, given)

    def _take_back(self, folder: Folder) -> None:
        try:
            take_back(self._home, folder, self._clock.now())
            self._unchecked.discard(folder)
        except (OSError, CredentialError) as error:
            log.error("login.not_taken_back", folder=folder, problem=str(error))  # noqa: TRY400

    def _forget_visits(self) -> None:
        for folder in self._visited - self._unchecked:
            try:
                forget_visit(self._home, folder)
            except CredentialError as error:
                log.error("login.visit_kept", folder=folder, problem=str(error))  # noqa: TRY400
            else:
                self._visited.discard(folder)


class _NewestHeaders(Mapping[str, str]):
    """The credential headers of a login as it is at each moment: a run may outlive a renewal."""

    def __init__(self, newest: Mapping[Place, Login], place: Place) -> None:
        self._newest = newest
        self._place = place

    def __getitem__(self, name: str) -> str:
        return chatgpt_headers(self._newest[self._place])[name]

    def __iter__(self) -> Iterator[str]:
        return iter(chatgpt_headers(self._newest[self._place]))

    def __len__(self) -> int:
        return len(chatgpt_headers(self._newest[self._place]))
