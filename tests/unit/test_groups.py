"""registered_groups.json."""

import json
from pathlib import Path

import pytest

from nanoclaw.errors import ConfigError, NotFoundError
from nanoclaw.groups import Entries, GroupRegistry, change_groups, find_group, load_groups, parse_groups
from nanoclaw.model import Folder, Jid, RegisteredGroup, SenderPolicy

_PATH = Path("registered_groups.json")

# As NanoClaw of February 2026 writes it, with fields that are not ours.
_FROM_NANOCLAW = {
    "120363336345536173@g.us": {
        "name": "Family Chat",
        "folder": "family-chat",
        "trigger": "@Andy",
        "added_at": "2026-01-31T12:00:00.000Z",
        "containerConfig": {
            "additionalMounts": [{"hostPath": "~/projects/webapp", "containerPath": "webapp", "readonly": False}],
            "timeout": 600000,
            "env": {"X": "1"},
        },
    },
    "15550001@s.whatsapp.net": {"name": "Me", "folder": "main", "trigger": "@Andy", "added_at": "2026-01-01T00:00:00Z"},
}


def entry(**changes: object) -> dict[str, object]:
    return {"name": "A", "folder": "a", "trigger": "@Andy", "added_at": "2026-01-01T00:00:00Z", **changes}


def parsed(**changes: object) -> RegisteredGroup:
    return parse_groups(json.dumps({"local:a": entry(**changes)}), _PATH)[Jid("local:a")]


def test_a_file_of_nanoclaw_loads_as_it_is() -> None:
    groups = parse_groups(json.dumps(_FROM_NANOCLAW), _PATH)
    family = groups[Jid("120363336345536173@g.us")]
    assert (family.provider, family.requires_trigger, family.timeout_ms) == ("claude", True, 600000)
    assert family.additional_mounts[0].host_path == "~/projects/webapp"
    assert not family.additional_mounts[0].readonly
    assert groups[Jid("15550001@s.whatsapp.net")].is_main


def test_a_group_chooses_its_provider_and_settings() -> None:
    group = parse_groups(
        json.dumps(
            {
                "local:a": entry(
                    provider="codex",
                    providerConfig={"codex": {"approvalPolicy": "readonly", "authMethod": "api_key", "model": "m"}},
                    requiresTrigger=False,
                )
            }
        ),
        _PATH,
    )[Jid("local:a")]
    assert (group.provider, group.approval_policy, group.codex.auth_method) == ("codex", "readonly", "api_key")
    assert (group.model, group.requires_trigger) == ("m", False)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"provider": "gemini"}, "provider"),
        ({"provider": None}, "provider"),
        ({"provider": ["codex"]}, "provider"),
        ({"folder": "../up"}, "folder"),
        ({"folder": "global"}, "folder"),
        ({"folder": "a b"}, "folder"),
        ({"folder": ""}, "folder"),
        ({"folder": "x" * 65}, "folder"),
        ({"name": 5}, "name"),
        ({"trigger": ""}, "trigger"),
        ({"requiresTrigger": "yes"}, "requiresTrigger"),
        ({"providerConfig": []}, "providerConfig"),
        ({"providerConfig": {"codex": {"approvalPolicy": "never"}}}, "approvalPolicy"),
        ({"providerConfig": {"codex": {"authMethod": "oauth"}}}, "authMethod"),
        ({"providerConfig": {"claude": {"model": ""}}}, "model"),
        ({"containerConfig": {"timeout": -1}}, "timeout"),
        ({"containerConfig": {"timeout": True}}, "timeout"),
        ({"containerConfig": {"additionalMounts": {}}}, "additionalMounts"),
        ({"containerConfig": {"additionalMounts": [{"containerPath": "x"}]}}, "hostPath"),
        ({"senders": []}, "senders"),
        ({"senders": {"policy": "some"}}, "senders.policy"),
        ({"senders": {"allow": "4915"}}, "senders.allow"),
        ({"senders": {"allow": [4915]}}, "senders.allow[0]"),
    ],
)
def test_a_wrong_entry_is_refused_with_file_key_and_reason(changes: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parsed(**changes)
    assert key in str(caught.value)
    assert "registered_groups.json: local:a" in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "nul", '{"local:a": []}', '{"local:a": {}, "local:a": {}}', "[" * 99999]
)
def test_what_is_no_file_of_groups_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_groups(text, _PATH)


def test_everybody_may_wake_a_group_unless_it_lists_who() -> None:
    assert parsed().senders == SenderPolicy()
    assert parsed(senders={"allow": ["4915"]}).senders == SenderPolicy(policy="allowlist", allow=("4915",))
    assert parsed(senders={}).senders == SenderPolicy(policy="allowlist")
    assert parsed(senders={"policy": "everyone", "allow": ["4915"]}).senders.policy == "everyone"


def test_two_groups_cannot_share_a_folder() -> None:
    with pytest.raises(ConfigError, match="belongs to"):
        parse_groups(json.dumps({"local:a": entry(), "local:b": entry()}), _PATH)


def test_a_change_keeps_fields_it_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "registered_groups.json"
    path.write_text(json.dumps(_FROM_NANOCLAW), encoding="utf-8")

    def add(entries: Entries) -> None:
        entries["local:a"] = entry()

    change_groups(path, add)
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written == {**_FROM_NANOCLAW, "local:a": entry()}


def test_a_change_that_would_break_the_file_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "registered_groups.json"
    path.write_text(json.dumps({"local:a": entry()}), encoding="utf-8")
    before = path.read_bytes()

    def spoil(entries: Entries) -> None:
        entries["local:a"]["provider"] = "gemini"

    with pytest.raises(ConfigError):
        change_groups(path, spoil)
    assert path.read_bytes() == before
    assert {file.name for file in tmp_path.iterdir()} == {"registered_groups.json", "registered_groups.lock"}


def test_a_broken_edit_leaves_the_last_good_state_in_force(tmp_path: Path) -> None:
    path = tmp_path / "registered_groups.json"
    path.write_text(json.dumps({"local:a": entry()}), encoding="utf-8")
    registry = GroupRegistry(path)
    path.write_text("{ broken", encoding="utf-8")
    registry.reload()
    assert registry.by_folder(Folder("a")) is not None
    assert registry.problem is not None
    assert str(path) in str(registry.problem)
    path.write_text(json.dumps({"local:b": entry(folder="b")}), encoding="utf-8")
    registry.reload()
    assert registry.problem is None
    assert registry.by_folder(Folder("a")) is None


def test_a_missing_file_means_no_groups(tmp_path: Path) -> None:
    assert load_groups(tmp_path / "none.json") == {}


def test_a_group_is_found_by_folder_and_by_jid() -> None:
    groups = parse_groups(json.dumps({"local:a": entry(folder="f")}), _PATH)
    assert find_group(groups, "f") is find_group(groups, "local:a")
    with pytest.raises(NotFoundError, match="nobody"):
        find_group(groups, "nobody")
