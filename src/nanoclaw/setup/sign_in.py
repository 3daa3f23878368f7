"""Who thinks, and who pays for it."""

from collections.abc import Iterable
from typing import Final, cast

from nanoclaw.config import has_screen, load_secrets
from nanoclaw.credentials.accounts import Account, GroupSignIn, describe, save_key
from nanoclaw.credentials.store import HOST
from nanoclaw.errors import CredentialError
from nanoclaw.groups import Entries, change_groups
from nanoclaw.model import MAIN_FOLDER, Folder
from nanoclaw.providers import PROVIDER_NAMES, PROVIDERS, ProviderName
from nanoclaw.setup.step import Setup
from nanoclaw.setup.talk import Finding, Option

PROVIDER_OPTIONS: Final = (
    Option(value="claude", text="Claude (Claude Code)"),
    Option(value="codex", text="OpenAI Codex"),
)
_METHODS: Final = {"api_key": "an API key", "chatgpt": "a ChatGPT login", "oauth_token": "a Claude subscription"}
_KEY_NAMES: Final = {"claude": "ANTHROPIC_API_KEY", "codex": "OPENAI_API_KEY"}
_OAUTH_VARIABLE: Final = "CLAUDE_CODE_OAUTH_TOKEN"
_NO_CLAUDE: Final = (
    "There is no Claude Code on this machine that could make a token. On one that has it, and a browser, run "
    "`claude setup-token`, and bring what it prints."
)


class SignIn:
    """Provider and sign-in of `main`."""

    name = "sign-in"
    title = "Sign-in"

    def look(self, setup: Setup) -> Finding:
        """The next run of main could sign in, with the provider that was asked for."""
        main = _main(setup)
        if main is None:
            return Finding(done=False, what="nobody is signed in")
        wanted = setup.talk.given("provider") or main.provider
        if wanted != main.provider:
            return Finding(done=False, what=f"main is to use {PROVIDERS[main.provider].title}")
        if main.problem:
            return Finding(done=False, what=main.problem, hint=main.hint)
        assert main.method
        return Finding(done=True, what=f"{PROVIDERS[main.provider].title}, by {_METHODS[main.method]}", hint=main.note)

    def needs(self, setup: Setup) -> Iterable[str]:
        """Provider and way, as long as nobody is signed in: only the person can know."""
        if self.look(setup).done:
            return
        provider = setup.talk.given("provider")
        if provider is None:
            yield "--provider claude or codex"
        known = provider is not None and signed_in(setup, cast("ProviderName", provider))
        if not known and setup.talk.given("sign-in") is None:
            yield "--sign-in device or api-key (Codex), token or api-key (Claude)"

    def do(self, setup: Setup) -> None:
        """Ask for the provider, sign in where that is needed, have main use it."""
        main = _main(setup)
        usual = main.provider if main and not main.problem else _known_provider(setup)
        provider = cast(
            "ProviderName",
            setup.talk.choose("provider", "Who shall think for you? Groups can differ later.", PROVIDER_OPTIONS, usual),
        )
        sign_in(setup, provider)
        use_provider(setup, MAIN_FOLDER, provider)


def signed_in(setup: Setup, provider: ProviderName) -> bool:
    """Whether the host has something to sign in with."""
    return any(_is_usable(account, provider) for account in describe(setup.home).accounts)


def sign_in(setup: Setup, provider: ProviderName) -> None:
    """Lead through signing in to a provider, for all groups; nothing happens if somebody is signed in.

    Raises:
        CredentialError: it did not come to that.
    """
    if signed_in(setup, provider):
        return
    way = setup.talk.choose("sign-in", "How will you sign in?", _ways(setup, provider))
    match way:
        case "device" | "browser":
            setup.talk.sign_in_to_codex(setup.home, device=way == "device")
        case "api-key":
            save_key(setup.home, _KEY_NAMES[provider], _given(setup, f"{PROVIDERS[provider].title}: API key"))
        case _:
            token = setup.talk.claude_token(setup.home)
            if token is None and setup.talk.asks:
                setup.talk.say(_NO_CLAUDE)
            save_key(setup.home, _OAUTH_VARIABLE, token or _given(setup, "Token of `claude setup-token`"))


def use_provider(setup: Setup, folder: Folder, provider: ProviderName) -> None:
    """Have a group think with this provider."""

    def change(entries: Entries) -> None:
        for entry in entries.values():
            if entry.get("folder") == folder:
                entry["provider"] = provider

    change_groups(setup.home.registered_groups, change)


def _given(setup: Setup, what: str) -> str:
    secret = setup.talk.secret(what)
    if not secret:
        raise CredentialError("nothing was entered; nothing has changed", "begin again when you have it")
    return secret


def _main(setup: Setup) -> GroupSignIn | None:
    return next((group for group in describe(setup.home).groups if group.folder == MAIN_FOLDER), None)


def _known_provider(setup: Setup) -> ProviderName | None:
    """Whose account is there already, if it is one provider's."""
    known: list[ProviderName] = [name for name in PROVIDER_NAMES if signed_in(setup, name)]
    return known[0] if len(known) == 1 else None


def _is_usable(account: Account, provider: ProviderName) -> bool:
    return account.provider == provider and account.where == HOST and not account.problem


def _ways(setup: Setup, provider: ProviderName) -> tuple[Option, ...]:
    if provider == "claude":
        return (
            Option(value="token", text="with a Claude subscription (Pro or Max)"),
            Option(value="api-key", text="with an API key of Anthropic; every answer is charged"),
        )
    device = Option(value="device", text="with a ChatGPT subscription, by a code: in a browser on any machine")
    browser = Option(value="browser", text="with a ChatGPT subscription, in a browser on this machine")
    key = Option(value="api-key", text="with an API key of OpenAI; every answer is charged")
    here = has_screen() and "CHATGPT_ISSUER_URL" not in load_secrets(setup.home)
    return (browser, device, key) if here else (device, key)
