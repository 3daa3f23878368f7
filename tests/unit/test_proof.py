"""What a host asks a sandbox to prove, and how it judges the answer."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoclaw.config import Home
from nanoclaw.errors import MountError
from nanoclaw.failures import notice
from nanoclaw.model import Folder
from nanoclaw.sandbox.base import Mount, SandboxSpec, Traits
from nanoclaw.sandbox.engine_commands import EXCUSED, EngineName, traits
from nanoclaw.sandbox.proof import MEANINGS, Record, Verdict, ask, judge, keep, last_proofs, proof_json
from nanoclaw.wire import CHECKS, PROTOCOL
from nanoclaw_runner.proof import CHECKS as TRIED

PLAIN = Traits(fixtures=("/",))
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def proof(**changes: object) -> bytes:
    """A proof in which everything held, with `changes` of its checks."""
    return said(checks=dict.fromkeys(CHECKS, "") | changes)


def said(**changes: object) -> bytes:
    whole = {"type": "proof", "protocol": PROTOCOL, "checks": dict.fromkeys(CHECKS, ""), "milliseconds": 3.5}
    return json.dumps(whole | changes).encode()


def test_everything_that_is_tried_is_judged_and_has_a_meaning() -> None:
    assert tuple(TRIED) == CHECKS
    assert MEANINGS.keys() == set(CHECKS)


def test_a_sandbox_in_which_nothing_forbidden_succeeded_holds() -> None:
    verdict = judge(proof(), PLAIN)
    assert (verdict.held, verdict.failed, verdict.milliseconds) == (True, {}, 3.5)


@pytest.mark.parametrize("name", CHECKS)
def test_anything_that_succeeded_stops_the_run_and_is_told(name: str) -> None:
    verdict = judge(proof(**{name: "something worked"}), PLAIN)
    assert not verdict.held
    failure = verdict.failure("")
    assert (failure.kind, failure.retryable) == ("sandbox", False)
    told = notice(failure, provider="Codex", sign_in="", failures=1)
    assert f"{name}: something worked" in told
    assert MEANINGS[name] in told


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_that_was_not_made_counts_as_failed(name: str) -> None:
    checks = dict.fromkeys(CHECKS, "")
    del checks[name]
    assert judge(said(checks=checks), PLAIN).failed == {name: "was not tried"}


def test_what_a_kind_of_sandbox_is_known_to_lack_is_named_and_does_not_stop_the_run() -> None:
    verdict = judge(proof(filter="none", network="a way"), Traits(fixtures=(), excused={"filter": "a filter"}))
    assert (verdict.failed, verdict.lacks, verdict.held) == ({"network": "a way"}, ("filter",), False)
    assert judge(proof(filter="none"), Traits(fixtures=(), excused={"filter": "a filter"})).held


@pytest.mark.parametrize(
    "line",
    [
        None,
        b"",
        b"{}",
        b"[]",
        b"null",
        b"[" * 100_000,
        b"\xff",
        said(protocol=PROTOCOL - 1),
        said(protocol="2"),
        said(type="started"),
        said(checks=[]),
        said(checks={}),
        said(checks=None),
        said(milliseconds="3"),
        said(milliseconds=None),
        said(milliseconds=float("nan")),
        said(milliseconds=-1),
        said(milliseconds=10**400),
        proof(network=None),
        proof(network=False),
        proof(network=["", ""]),
        proof(unheard_of=""),
    ],
)
def test_what_is_no_proof_is_a_failure(line: bytes | None) -> None:
    assert not judge(line, PLAIN).held


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner), max_leaves=5
)


@given(st.dictionaries(st.sampled_from(CHECKS) | st.text(), JSON, max_size=3), st.sets(st.sampled_from(CHECKS)))
def test_only_a_whole_proof_holds(changes: dict[str, Any], missing: set[str]) -> None:
    whole = dict.fromkeys(CHECKS, "")
    checks = {name: what for name, what in (whole | changes).items() if name not in missing}
    assert judge(said(checks=checks), PLAIN).held == (checks == whole)


def test_a_runner_of_another_version_says_so() -> None:
    line = json.dumps({"type": "failed", "kind": "sandbox", "text": "it speaks protocol 1", "retryable": False})
    failure = judge(line.encode(), PLAIN).failure("")
    assert "it speaks protocol 1" in failure.detail
    assert not failure.retryable


def test_a_sandbox_that_ended_before_its_proof_is_tried_again_and_its_last_words_are_kept() -> None:
    failure = judge(None, PLAIN).failure("Traceback\nOSError: no room\n")
    assert failure.retryable
    assert "OSError: no room" in failure.detail


def test_what_succeeded_is_told_without_control_characters_and_not_at_length() -> None:
    (what,) = judge(proof(mounts="\x1b[2J" + "x" * 9999), PLAIN).failed.values()
    assert "\x1b" not in what
    assert len(what) == 200


def spec(home: Home) -> SandboxSpec:
    home.groups.mkdir(parents=True)
    mount = Mount(source=home.groups, target="/workspace/group", readonly=True)
    return SandboxSpec(name="n", installation="i", folder=Folder("family"), mounts=(mount,), canary="c4n4ry")


def test_a_runner_is_asked_for_the_hosts_own_places_and_for_exactly_the_mounts(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    asked = ask(home, PLAIN, spec(home))
    status = home.groups.stat()
    assert asked["mounts"] == [
        {"target": "/workspace/group", "readonly": True, "identity": [status.st_dev, status.st_ino]}
    ]
    own = (home.env, home.database, home.credentials, home.groups, home.mailboxes, home.run, home.control_socket)
    assert {str(path) for path in own} <= set(asked["forbidden"])
    assert (asked["tokens"], asked["fixtures"]) == (["c4n4ry"], ["/"])
    assert asked["namespaces"]["net"] == str(Path("/proc/self/ns/net").readlink())


def test_where_the_kernel_is_another_one_numbers_are_not_compared(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    asked = ask(home, replace(PLAIN, shares_kernel=False), spec(home))
    assert (asked["mounts"][0]["identity"], asked["namespaces"]) == (None, {})


def test_a_directory_that_went_away_before_it_was_mounted_is_an_error(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    wanted = spec(home)
    home.groups.rmdir()
    with pytest.raises(MountError, match="cannot be mounted"):
        ask(home, PLAIN, wanted)


@pytest.mark.parametrize(
    ("engine", "runtime", "excused", "shares"),
    [
        ("podman", "", False, True),
        ("podman", "runc", False, True),
        ("docker", "/usr/local/bin/runsc", True, False),
        ("podman", "kata-runtime", False, False),
        ("container", "", True, False),
    ],
)
def test_a_stronger_runtime_is_known_for_what_is_different_in_it(
    engine: EngineName, runtime: str, excused: bool, shares: bool
) -> None:
    found = traits(engine, runtime)
    assert (bool(found.excused), found.shares_kernel) == (excused, shares)


@pytest.mark.parametrize("kind", EXCUSED)
def test_no_sandbox_is_excused_from_keeping_the_hosts_files_and_network_away(kind: str) -> None:
    kept = {"user", "capabilities", "network", "host-files", "mounts", "read-only", "secrets", "descriptors"}
    assert not EXCUSED[kind].keys() & kept


def record(verdict: Verdict, sandbox: str = "podman", minute: int = 0) -> Record:
    return Record(folder="family", sandbox=sandbox, at=NOON.replace(minute=minute), verdict=verdict)


def test_the_last_proof_of_each_kind_of_sandbox_is_kept(tmp_path: Path) -> None:
    home = Home(tmp_path)
    broken = Verdict(failed={"network": "a way to 1.1.1.1"}, lacks=("filter",), milliseconds=4.0)
    keep(home, record(Verdict(milliseconds=3.0)))
    keep(home, record(broken, minute=1))
    keep(home, record(Verdict(milliseconds=2.0), "bubblewrap"))
    newest, older = last_proofs(home, Folder("family"))
    assert newest == record(broken, minute=1)
    assert older.sandbox == "bubblewrap"
    assert proof_json(newest) == {
        "folder": "family",
        "sandbox": "podman",
        "at": "2026-01-31T12:01:00.000000Z",
        "held": False,
        "failed": {"network": "a way to 1.1.1.1"},
        "problem": None,
        "lacks": ["filter"],
        "milliseconds": 4.0,
    }
    assert last_proofs(home, Folder("fam")) == []


@pytest.mark.parametrize("text", ["", "{", "{}", "[]"])
def test_a_damaged_record_counts_as_none(tmp_path: Path, text: str) -> None:
    keep(Home(tmp_path), record(Verdict()))
    (path,) = (tmp_path / "run" / "proofs").iterdir()
    path.write_text(text)
    assert last_proofs(Home(tmp_path), Folder("family")) == []
