"""Which hosts a group may reach: patterns, lists and policies, without any I/O."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoclaw.config import Home, NetworkSettings, load_settings
from nanoclaw.errors import ConfigError
from nanoclaw.gateway.policy import Policy, nothing, policy_of
from nanoclaw.gateway.usual import USUAL_HOSTS, USUAL_PATTERNS
from nanoclaw.groups import parse_groups
from nanoclaw.hosts import Pattern, Rules, canonical_host, parse_address, parse_pattern, split_authority
from nanoclaw.model import ClaudeConfig, Folder, Jid, NetworkConfig, NetworkPolicy, RegisteredGroup

FAMILY = Folder("family")
POLICIES = st.sampled_from(("none", "allowlist", "open"))
LABEL = st.text("abcxyz0189", min_size=1, max_size=6)
PORT = st.sampled_from((80, 443, 8443, 22, 1, 65535))


def _name(labels: list[str], top: str) -> str:
    return ".".join([*labels, top])


def _pattern(name: str, port: int | None, below: bool) -> str:
    return f"{'*.' if below else ''}{name}{f':{port}' if port else ''}"


NAME = st.builds(_name, st.lists(LABEL, min_size=1, max_size=4), st.sampled_from(("org", "com", "example")))
PATTERN = st.builds(_pattern, NAME, st.one_of(st.none(), PORT), st.booleans())


def group(
    *allow: str, policy: NetworkPolicy | None = None, deny: tuple[str, ...] = (), full: bool = False
) -> RegisteredGroup:
    return RegisteredGroup(
        jid=Jid("local:family"),
        name="Family",
        folder=FAMILY,
        trigger="@Andy",
        added_at="",
        claude=ClaudeConfig(approval_policy="full" if full else "auto"),
        network=NetworkConfig(policy=policy, allow=allow, deny=deny),
    )


def allowed(*patterns: str, mode: NetworkPolicy = "allowlist", deny: tuple[str, ...] = ()) -> Policy:
    return policy_of(NetworkSettings(), group(*patterns, policy=mode, deny=deny))


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("Example.COM.", "example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
        ("8.8.8.8", "8.8.8.8"),
        ("[2606:4700:0:0::1111]", "2606:4700::1111"),
        ("2606:4700::1111", "2606:4700::1111"),
        ("my_host.example", "my_host.example"),
    ],
)
def test_a_host_has_one_spelling(text: str, host: str):
    assert canonical_host(text) == host


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "a..b", "-a.com", "a b.com", "user@a.com", "a.com/", "a:b:c", f"{'a.' * 200}com", "\udcff.com"),
        *("127.1", "2130706433", "0x7f.1", "1.2.3.0x4", "010.0.0.1", "1.2.3.4.5", "256.1.1.1", "١٢٧.0.0.1x..y"),
        *("[fe80::1%25eth0]", "[1.2.3.4]"),
    ],
)
def test_what_is_no_host_has_none(text: str):
    assert canonical_host(text) is None


@given(st.text(max_size=40))
def test_a_spelling_is_spelled_so_already(text: str):
    host = canonical_host(text)
    assert host is None or (host.isascii() and canonical_host(host) == host)


@given(NAME, PORT)
def test_a_host_and_port_are_read_back(name: str, port: int):
    assert split_authority(f"{name.upper()}.:{port}") == (name, port)


@given(PATTERN)
def test_a_pattern_is_written_as_it_is_read(text: str):
    pattern = parse_pattern(text)
    assert parse_pattern(str(pattern)) == pattern
    assert str(pattern) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "*", "*.com", "*.", "**.a.com", "a.*.com", "*a.com", "https://a.com", "a.com/x", "a b.com", "1.2.3"),
        *("a.com:", "a.com:0", "a.com:70000", "a.com:https", "*.1.2.3.4", "*.[::1]", "[::1", "::1]:80:"),
    ],
)
def test_what_is_no_pattern_is_said(text: str):
    with pytest.raises(ValueError, match="a host is written like"):
        parse_pattern(text)


@pytest.mark.parametrize("text", ["nas.home", "*.home:80", "nas.home:0", "http://nas.home:80", ""])
def test_a_private_place_is_a_host_and_a_port(text: str):
    with pytest.raises(ValueError, match="write it like"):
        parse_address(text)


# --- lists -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "host", "port", "matches"),
    [
        ("example.org", "example.org", 443, True),
        ("example.org", "example.org", 80, True),
        ("example.org", "example.org", 8443, False),
        ("example.org", "www.example.org", 443, False),
        ("example.org", "evilexample.org", 443, False),
        ("example.org", "example.org.evil.com", 443, False),
        ("*.example.org", "www.example.org", 443, True),
        ("*.example.org", "a.b.c.example.org", 443, True),
        ("*.example.org", "example.org", 443, False),
        ("*.example.org", "evilexample.org", 443, False),
        ("*.example.org:8443", "www.example.org", 8443, True),
        ("*.example.org:8443", "www.example.org", 443, False),
        ("example.org:8443", "example.org", 8443, True),
        ("example.org:8443", "example.org", 443, False),
        ("8.8.8.8", "8.8.8.8", 443, True),
        ("*.8.example.org", "8.8.example.org", 443, True),
        ("[2606:4700::1111]:853", "2606:4700::1111", 853, True),
    ],
)
def test_a_pattern_matches_whole_labels_and_its_ports(pattern: str, host: str, port: int, matches: bool):
    assert Rules.allowing([parse_pattern(pattern)]).match(host, port) is matches
    assert (allowed(pattern).reach(host, port) is not None) is matches


def test_to_deny_a_host_without_a_port_is_to_deny_every_port():
    rules = Rules.denying(map(parse_pattern, ("a.example", "*.b.example", "c.example:443")))
    assert rules.match("a.example", 8443)
    assert rules.match("x.b.example", 1)
    assert rules.match("c.example", 443)
    assert not rules.match("c.example", 80)


@given(st.lists(PATTERN, max_size=6), NAME, PORT)
def test_lists_say_what_their_patterns_say_one_by_one(patterns: list[str], host: str, port: int):
    parsed = [parse_pattern(text) for text in patterns]

    def matches(pattern: Pattern) -> bool:
        fits = host.endswith(f".{pattern.host}") if pattern.below else host == pattern.host
        return fits and (port in (80, 443) if pattern.port is None else port == pattern.port)

    assert Rules.allowing(parsed).match(host, port) is any(map(matches, parsed))


# --- policies --------------------------------------------------------------------------------------------------------


@given(st.lists(PATTERN, max_size=4), st.lists(PATTERN, max_size=4), NAME, PORT)
def test_a_wider_policy_allows_whatever_a_narrower_one_does(allow: list[str], deny: list[str], host: str, port: int):
    narrow, wide, no = (allowed(*allow, mode=mode, deny=tuple(deny)) for mode in ("allowlist", "open", "none"))
    assert no.reach(host, port) is None
    if narrow.reach(host, port):
        assert wide.reach(host, port) == narrow.reach(host, port)
    if Rules.denying(map(parse_pattern, deny)).match(host, port):
        assert wide.reach(host, port) is None


@given(NAME, POLICIES)
def test_what_is_allowed_beside_the_lists_is_public_and_at_the_usual_ports(host: str, mode: NetworkPolicy):
    policy = policy_of(NetworkSettings(policy=mode, private=(f"{host}:8443",)), group())
    assert policy.reach(host, 8443) is None
    assert policy.reach(host, 443) == ("open" if mode == "open" else None)


def test_a_private_place_needs_its_name_on_a_list_of_the_group_too():
    settings = NetworkSettings(private=("nas.home:8080",))
    assert policy_of(settings, group(policy="open")).reach("nas.home", 8080) is None
    assert policy_of(settings, group("nas.home:8080")).reach("nas.home", 8080) == "private"
    assert policy_of(settings, group("nas.home:8080", policy="none")).reach("nas.home", 8080) is None
    assert policy_of(settings, group("nas.home")).reach("nas.home", 443) == "listed"


@pytest.mark.parametrize(
    ("settings", "own", "full", "mode"),
    [
        ("allowlist", None, False, "allowlist"),
        ("open", None, False, "open"),
        ("none", None, True, "open"),
        ("allowlist", "none", True, "none"),
        ("allowlist", "allowlist", True, "allowlist"),
        ("none", "open", False, "open"),
    ],
)
def test_the_groups_own_policy_goes_first_then_its_level_then_the_settings(
    settings: NetworkPolicy, own: NetworkPolicy | None, full: bool, mode: NetworkPolicy
):
    assert policy_of(NetworkSettings(policy=settings), group(policy=own, full=full)).mode == mode


def test_the_lists_of_the_settings_and_of_the_group_add_up():
    policy = policy_of(NetworkSettings(allow=("a.example",)), group("b.example", deny=("github.com",)))
    reached = [
        host for host in ("a.example", "b.example", "c.example", "github.com", "pypi.org") if policy.reach(host, 443)
    ]
    assert reached == ["a.example", "b.example", "pypi.org"]


def test_a_group_of_which_nothing_is_known_reaches_nothing():
    assert not any(nothing(FAMILY).reach(host, 443) for host in USUAL_HOSTS)


@pytest.mark.parametrize(
    ("policy", "host", "port", "command"),
    [
        (allowed(), "example.com", 443, "nanoclaw network allow family example.com"),
        (allowed(), "example.com", 8443, "nanoclaw network allow family example.com:8443"),
        (allowed(), "2606:4700::1111", 443, "nanoclaw network allow family [2606:4700::1111]"),
        (allowed(mode="open"), "example.com", 22, "nanoclaw network allow family example.com:22"),
        (allowed(deny=("*.example.com",)), "a.example.com", 443, "nanoclaw network allow family a.example.com"),
        (nothing(FAMILY), "example.com", 443, "nanoclaw network set family allowlist"),
    ],
)
def test_a_refusal_names_the_command_that_changes_it(policy: Policy, host: str, port: int, command: str):
    assert policy.refusal(host, port).endswith(
        f"the owner can {'change' if 'set' in command else 'allow'} it: {command}"
    )


def test_the_usual_hosts_are_few_and_none_takes_uploads_by_strangers():
    assert len(USUAL_PATTERNS) < 30
    policy = policy_of(NetworkSettings(), group())
    for host in (
        "github.com",
        "raw.githubusercontent.com",
        "files.pythonhosted.org",
        "registry.npmjs.org",
        "en.wikipedia.org",
    ):
        assert policy.reach(host, 443) == "listed"
    for host in (
        "upload.pypi.org",
        "gist.github.com",
        "pastebin.com",
        "s3.amazonaws.com",
        "githubusercontent.com",
        "169.254.169.254",
    ):
        assert policy.reach(host, 443) is None


# --- what people write -----------------------------------------------------------------------------------------------


def groups_file(network: object) -> str:
    entry = {"name": "Family", "folder": "family", "trigger": "@Andy", "network": network}
    return json.dumps({"local:family": entry})


def test_a_group_says_what_it_may_reach_in_the_groups_file():
    text = groups_file({"policy": "open", "allow": ["a.example:8443"], "deny": ["*.b.example"], "note": "kept"})
    (loaded,) = parse_groups(text, Path("groups.json")).values()
    assert loaded.network == NetworkConfig(policy="open", allow=("a.example:8443",), deny=("*.b.example",))
    assert loaded.raw["network"]["note"] == "kept"


@pytest.mark.parametrize(
    ("network", "says"),
    [
        ([], "network is"),
        ({"policy": "closed"}, "network.policy is"),
        ({"allow": "github.com"}, "network.allow is"),
        ({"allow": [7]}, r"network.allow\[0\] is"),
        ({"allow": ["https://github.com"]}, "network.allow: 'https://github.com' is no host"),
        ({"deny": ["*"]}, r"network.deny: '\*' is no host"),
    ],
)
def test_what_a_groups_network_cannot_be_is_said_with_its_key(network: object, says: str):
    with pytest.raises(ConfigError, match=says):
        parse_groups(groups_file(network), Path("groups.json"))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('policy = "closed"', "network.policy"),
        ('allow = ["https://github.com"]', "network.allow: 'https://github.com' is no host"),
        ('private = ["nas.home"]', "network.private: 'nas.home' is no host with a port"),
        ("requests_per_minute = 0", "at least 1"),
    ],
)
def test_what_the_settings_cannot_be_is_said_with_its_key(tmp_path: Path, line: str, says: str):
    (tmp_path / "nanoclaw.toml").write_text(f"[network]\n{line}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=says):
        load_settings(Home(tmp_path))
