"""Settings and secrets."""

import shlex
from pathlib import Path

import pytest

from nanoclaw.config import USUAL_HOME, Home, Settings, load_secrets, load_settings
from nanoclaw.errors import ConfigError
from nanoclaw.model import Folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return Home(tmp_path)


def test_without_a_file_everything_has_its_default(home: Home) -> None:
    assert load_settings(home) == Settings()


def test_a_file_changes_what_it_names(home: Home) -> None:
    home.settings.write_text(
        'assistant_name = "Zoë"\n[runs]\nmax_concurrent = 2\n[sandbox]\nmemory = "512m"\n', "utf-8"
    )
    settings = load_settings(home)
    assert (settings.assistant_name, settings.runs.max_concurrent) == ("Zoë", 2)
    assert settings.sandbox.memory_bytes == 512 << 20


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("assistent_name = 1", "did you mean assistant_name"),
        ("[runs]\nmax_concurent = 1", "did you mean runs.max_concurrent"),
        ("[runs]\nmax_concurrent = 'many'", "runs.max_concurrent"),
        ("[runs]\nmax_concurrent = 0", "at least 1"),
        ("[sandbox]\nengine = 'lxc'", "sandbox.engine"),
        ("[sandbox]\nmemory = 'lots'", "sandbox.memory"),
        ("timezone = 'Mars/Olympus'", "Mars/Olympus"),
        ("= broken", "not valid TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_key_and_cure(home: Home, text: str, says: str) -> None:
    home.settings.write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_settings(home)
    assert says in f"{caught.value} {caught.value.hint}"


def test_only_allowlisted_names_are_read_from_env(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://from-environment")
    home.env.write_text(
        "# comment\nOPENAI_API_KEY='sk-1'\nexport ANTHROPIC_API_KEY=sk-2\nAWS_SECRET_ACCESS_KEY=never\nEMPTY=\n",
        "utf-8",
    )
    assert load_secrets(home) == {
        "OPENAI_API_KEY": "sk-1",
        "ANTHROPIC_API_KEY": "sk-2",
        "OPENAI_BASE_URL": "http://from-environment",
    }


def test_env_file_wins_over_the_environment(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "from-environment")
    home.env.write_text("OPENAI_API_KEY=from-file\n", "utf-8")
    assert load_secrets(home)["OPENAI_API_KEY"] == "from-file"


def test_a_broken_line_in_env_is_named_without_its_content(home: Home) -> None:
    home.env.write_text("OPENAI_API_KEY=x\nsk-secret-alone\n", "utf-8")
    with pytest.raises(ConfigError, match="line 2") as caught:
        load_secrets(home)
    assert "sk-secret" not in str(caught.value)


def test_the_installation_keeps_its_identity(home: Home) -> None:
    first = home.installation()
    assert len(first) == 12
    assert home.installation() == first


def test_commands_are_told_with_the_home_that_they_are_for(tmp_path: Path) -> None:
    assert Home(USUAL_HOME.expanduser()).program == "nanoclaw"
    other = tmp_path / "Bob's home"
    assert shlex.split(Home(other).program) == ["nanoclaw", "--home", str(other)]


def test_sockets_have_short_paths_however_deep_the_home_lies(tmp_path: Path) -> None:
    deep = Home(tmp_path / ("d" * 60) / ("e" * 60))
    assert len(str(deep.gateway_directory(Folder("f" * 64)) / "gateway.sock")) < 104
