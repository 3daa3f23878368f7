"""Which providers exist. Data only: host, command line and runner read the same table.

To add one: an entry here, and a file in `nanoclaw_runner/providers/`.
"""

from typing import Final, Literal, NamedTuple, get_args

ProviderName = Literal["claude", "codex"]
PROVIDER_NAMES: Final[tuple[ProviderName, ...]] = get_args(ProviderName)
DEFAULT_PROVIDER: Final[ProviderName] = "claude"


class ProviderEntry(NamedTuple):
    """What host and runner must know of a provider without loading it."""

    title: str
    """How people call it."""
    module: str
    """Dotted name of the runner's module; it has `def run(request, emit)`."""
    home: str
    """Its directory in the agent's home, e.g. `.codex`; persistent, one for each group."""
    host_home: str
    """The same directory below `data/`, with `{folder}` for the group's folder."""
    resumes: bool
    """Whether a group's next run goes on with the last one's session; if not, it is shown the chat's last exchanges."""
    api: str
    """First path segment at the gateway, e.g. `openai`."""
    key_variable: str
    base_url_variable: str
    default_base_url: str
    sign_in: str
    """What signs in; `{nanoclaw}` is the program and `{home}` its directory."""


PROVIDERS: Final[dict[ProviderName, ProviderEntry]] = {
    "claude": ProviderEntry(
        title="Claude Code",
        module="nanoclaw_runner.providers.claude",
        home=".claude",
        host_home="sessions/{folder}/.claude",
        resumes=True,
        api="anthropic",
        key_variable="ANTHROPIC_API_KEY",
        base_url_variable="ANTHROPIC_BASE_URL",
        default_base_url="https://api.anthropic.com",
        sign_in=(
            "run `{nanoclaw} auth login claude`, "
            "or put ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN (from `claude setup-token`) into {home}/.env"
        ),
    ),
    "codex": ProviderEntry(
        title="OpenAI Codex",
        module="nanoclaw_runner.providers.codex",
        home=".codex",
        host_home="codex/{folder}/.codex",
        resumes=False,
        api="openai",
        key_variable="OPENAI_API_KEY",
        base_url_variable="OPENAI_BASE_URL",
        default_base_url="https://api.openai.com/v1",
        sign_in="run `{nanoclaw} auth login codex`, or put OPENAI_API_KEY into {home}/.env",
    ),
}
