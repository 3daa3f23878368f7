"""Who may look at the page."""

from pathlib import Path

import pytest

from nanoclaw.web.access import Asked, own_hosts, page_token, refusal

TOKEN = "the-token"
HOSTS = own_hosts(8484)


def asked(**changes: object) -> Asked:
    """A request that is let in, but for what is changed."""
    usual = {"method": "GET", "path": "/", "host": "127.0.0.1:8484", "origin": "", "tokens": (TOKEN,)}
    return Asked(**(usual | changes))  # pyright: ignore[reportArgumentType]


def test_who_has_the_token_may_look_and_change() -> None:
    assert refusal(asked(), TOKEN, HOSTS) == ""
    assert refusal(asked(host="LOCALHOST:8484"), TOKEN, HOSTS) == ""
    assert refusal(asked(method="POST", origin="http://127.0.0.1:8484"), TOKEN, HOSTS) == ""


@pytest.mark.parametrize("tokens", [(), ("",), ("another",), (TOKEN[:-1],), ("", "", "x")])
def test_without_the_token_nobody_may(tokens: tuple[str, ...]) -> None:
    assert "needs its key" in refusal(asked(tokens=tokens), TOKEN, HOSTS)


@pytest.mark.parametrize("host", ["", "evil.example", "evil.example:8484", "127.0.0.1", "127.0.0.1:80", "[::1]:8484"])
def test_another_name_for_this_address_is_refused_whatever_it_brings(host: str) -> None:
    assert "not the one" in refusal(asked(host=host), TOKEN, HOSTS)
    assert "not the one" in refusal(asked(host=host, path="/healthz"), TOKEN, HOSTS)


@pytest.mark.parametrize(
    "origin", ["", "null", "http://evil.example", "https://127.0.0.1:8484", "http://127.0.0.1:8485"]
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_another_sites_form_changes_nothing(method: str, origin: str) -> None:
    assert "another site" in refusal(asked(method=method, origin=origin), TOKEN, HOSTS)


def test_whether_it_is_well_may_be_asked_without_the_token() -> None:
    assert refusal(asked(path="/healthz", tokens=()), TOKEN, HOSTS) == ""


def test_the_token_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    token = page_token(tmp_path / "run" / "page-token")
    assert len(token) >= 43
    assert page_token(tmp_path / "run" / "page-token") == token
    assert (tmp_path / "run" / "page-token").stat().st_mode & 0o777 == 0o600
