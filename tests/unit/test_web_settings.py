"""What the forms of a group's settings do to its entry, and what a form may send at all."""

from typing import Any

import pytest
from starlette.requests import Request
from starlette.types import Message

from nanoclaw.errors import UsageError
from nanoclaw.web.forms import lines, number, read_form
from nanoclaw.web.settings import PARTS, allow, limits, network, thinks, wakes

pytestmark = pytest.mark.anyio


def entry(**more: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"name": "Family", "folder": "family", "trigger": "@Andy", "added_at": "", **more}


async def sent(body: bytes) -> dict[str, str]:
    """A form with this body, as it is read."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return await read_form(Request({"type": "http", "method": "POST", "headers": []}, receive))


def test_level_and_model_go_to_the_provider_that_they_are_for() -> None:
    group = entry(providerConfig={"codex": {"model": "old", "authMethod": "api_key", "unknown": 1}})
    form = {
        "provider": "codex",
        "claude_level": "auto",
        "claude_model": "",
        "codex_level": "full",
        "codex_model": " m ",
    }
    thinks(group, form)
    assert group["provider"] == "codex"
    assert group["providerConfig"] == {
        "claude": {"approvalPolicy": "auto"},
        "codex": {"model": "m", "authMethod": "api_key", "unknown": 1, "approvalPolicy": "full"},
    }


def test_what_is_left_empty_is_taken_away_and_nothing_is_made_for_it() -> None:
    group = entry(containerConfig={"timeout": 5, "additionalMounts": []}, network={"policy": "none"})
    limits(group, {"timeout": "", "tokens": " ", "usd": ""})
    network(group, {"policy": "", "allow": "", "deny": ""})
    assert group == entry(containerConfig={"additionalMounts": []}, network={"allow": [], "deny": []})


def test_who_may_wake_it_is_a_list_of_lines() -> None:
    group = entry()
    wakes(group, {"name": " Us ", "trigger": "@Bot", "senders": "allowlist", "allow": "+49 151 1\r\n\nlocal:Ann, x"})
    assert group["senders"] == {"policy": "allowlist", "allow": ["+49 151 1", "local:Ann", "x"]}
    assert (group["name"], group["trigger"], group["requiresTrigger"]) == ("Us", "@Bot", False)


def test_main_keeps_its_trigger_as_its_form_does_not_ask_for_one() -> None:
    group = entry(requiresTrigger=True)
    wakes(group, {"name": "Main", "senders": "everyone", "allow": ""})
    assert (group["trigger"], group["requiresTrigger"]) == ("@Andy", True)


def test_hosts_are_kept_in_the_one_way_to_write_them() -> None:
    group = entry()
    network(group, {"policy": "allowlist", "allow": "GitHub.com\n*.Example.org:8443", "deny": "bad.example"})
    assert group["network"] == {
        "policy": "allowlist", "allow": ["github.com", "*.example.org:8443"], "deny": ["bad.example"],
    }  # fmt: skip


def test_a_host_that_is_allowed_is_denied_no_more_and_stands_once() -> None:
    group = entry(network={"deny": ["Bad.example", "other.example"], "allow": ["a.example"]})
    for _ in range(2):
        allow(group, {"host": "bad.example"})
    assert group["network"] == {"deny": ["other.example"], "allow": ["a.example", "bad.example"]}


def test_an_address_is_no_host() -> None:
    for part, form in ((network, {"allow": "https://example.org/x"}), (allow, {"host": "<b>"}), (allow, {})):
        with pytest.raises(UsageError):
            part(entry(), form)


@pytest.mark.parametrize("text", ["many", "-1", "1e9", "nan", "inf", "1,5", "0x10", "9" * 13])
def test_what_is_no_number_is_refused_with_its_name(text: str) -> None:
    with pytest.raises(UsageError, match="the time for one run is"):
        limits(entry(), {"timeout": text})


def test_limits_are_kept_as_the_file_has_them() -> None:
    group = entry()
    limits(group, {"timeout": "90.5", "tokens": "100000", "usd": "0.25"})
    assert group["containerConfig"] == {"timeout": 90500}
    assert group["budget"] == {"tokensPerDay": 100000, "usdPerDay": 0.25}


def test_what_is_no_object_is_left_to_the_check() -> None:
    group = entry(senders=["x"], providerConfig=3)
    wakes(group, {"name": "x", "senders": "everyone", "allow": ""})
    thinks(group, {"provider": "codex", "codex_level": "auto"})
    assert group["senders"] == ["x"]
    assert group["providerConfig"] == 3


def test_every_part_has_a_form() -> None:
    assert set(PARTS) == {"thinks", "wakes", "network", "allow", "limits"}


def test_entries_stand_on_lines_or_between_commas() -> None:
    assert lines(" a \r\n\r\nb,c ,, d") == ["a", "b", "c", "d"]
    assert lines("") == []
    assert number("", "x") is None
    assert number(" 2.5 ", "x") == 2.5


async def test_a_form_is_read_whatever_its_bytes_are() -> None:
    assert await sent(b"a=1&b=%C3%A9+%26%0D%0A&a=2&c=") == {"a": "2", "b": "\u00e9 &\r\n", "c": ""}
    assert await sent(b"\xff\xfe%FF=%zz") == {"\ufffd\ufffd\ufffd": "%zz"}


async def test_a_form_that_is_too_much_is_refused() -> None:
    with pytest.raises(UsageError, match="more than a form can send"):
        await sent(b"text=" + b"x" * (1 << 20))
    with pytest.raises(UsageError, match="more fields"):
        await sent(b"a=1&" * 100)
