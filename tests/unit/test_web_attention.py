"""What needs the owner, and what does not."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nanoclaw.credentials.accounts import Account, GroupSignIn, Refused, SignIns
from nanoclaw.errors import ConfigError
from nanoclaw.model import Folder, Jid, OutboxState, RunId
from nanoclaw.store.conversation import GroupActivity, Lost
from nanoclaw.web.attention import LITTLE_ROOM, Finding, Known, findings

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
FINE = Known(
    status={
        "sandbox": {"problem": None, "warning": None, "proofs": []},
        "host": {"root": False, "problem": None},
        "groups_problem": None,
        "channels": [{"name": "local", "problem": None, "hint": None}],
        "network": {"family": {"refused": 0}},
    },
    activities=[
        GroupActivity(
            folder=Folder("family"), last_at=NOW, waiting=0, running=None, last_failure=None, last_run=RunId(1)
        )
    ],
    lost=[],
    failing_tasks=[],
    sign_ins=SignIns(mode="mounted", accounts=(), groups=(), refused=()),
    free_bytes=LITTLE_ROOM,
)
LOST = Lost(
    chat=Jid("local:family"), at=NOW, kind="reply", text="x", state=OutboxState.FAILED, error="no", run_id=RunId(1)
)


def with_status(**changes: Any) -> Known:  # noqa: ANN401
    return replace(FINE, status={**FINE.status, **changes})


def only(known: Known) -> Finding:
    (finding,) = findings(known)
    return finding


def failed(kind: str, **more: Any) -> Known:  # noqa: ANN401
    return replace(FINE, activities=[replace(FINE.activities[0], last_failure=kind, **more)])


def test_where_all_is_well_nothing_is_found() -> None:
    assert findings(FINE) == []


def test_a_sandbox_that_did_not_hold_is_told_with_what_it_means() -> None:
    bad: dict[str, Any] = {
        "folder": "family",
        "sandbox": "podman",
        "held": False,
        "failed": {"network": "reached"},
        "problem": None,
    }
    older: dict[str, Any] = {"folder": "family", "sandbox": "bubblewrap", "held": True, "failed": {}, "problem": None}
    sandbox: dict[str, Any] = {"problem": None, "warning": None, "proofs": [bad, older]}
    finding = only(with_status(sandbox=sandbox))
    assert "podman" in finding.what
    assert "network (" in finding.what
    assert finding.link == "/audit?group=family"
    assert findings(with_status(sandbox={**sandbox, "proofs": [older, bad]})) == []  # it was mended since


def test_a_channel_is_told_with_what_mends_it() -> None:
    channel = {"name": "whatsapp", "problem": "this device was logged out", "hint": "link it again"}
    finding = only(with_status(channels=[channel]))
    assert (finding.what, finding.cure) == ("whatsapp: this device was logged out", "link it again")
    assert finding.link == "/whatsapp"


def test_one_missing_sign_in_is_one_finding_however_many_groups_wait_for_it() -> None:
    groups = tuple(
        GroupSignIn(folder=f"g{n}", name="G", provider="claude", problem="nobody is signed in", hint="do so")
        for n in range(5)
    )
    finding = only(replace(FINE, sign_ins=replace_sign_ins(groups=groups)))
    assert finding.what == "g0, g1, g2 and 2 more cannot answer: nobody is signed in"
    assert finding.link == "/signins"


def replace_sign_ins(**changes: Any) -> SignIns:  # noqa: ANN401
    return replace(SignIns(mode="mounted", accounts=(), groups=(), refused=()), **changes)


def test_a_login_that_has_ended_and_one_that_nobody_believes_are_told() -> None:
    account = Account(provider="codex", where="family", method="chatgpt", problem="it was revoked", hint="sign in")
    refused = Refused(folder="family", path=Path("/x"), at=NOW, hint="import it")
    found = findings(replace(FINE, sign_ins=replace_sign_ins(accounts=(account,), refused=(refused,))))
    assert [finding.cure for finding in found] == ["sign in", "import it"]
    assert "of family does not work: it was revoked" in found[0].what


def test_sign_ins_that_cannot_be_read_are_told() -> None:
    assert "cannot be read" in only(replace(FINE, sign_ins=ConfigError("a line is wrong", "mend it"))).what


def test_a_failure_is_told_until_something_goes_well_but_not_what_a_person_stopped() -> None:
    assert only(failed("not_signed_in")).cure == "nanoclaw runs retry family"
    assert findings(failed("stopped")) == []
    assert findings(failed("network", running=RunId(2))) == []


def test_answers_that_did_not_arrive_are_counted() -> None:
    unknown = replace(LOST, state=OutboxState.UNKNOWN)
    bad, maybe = findings(replace(FINE, lost=[LOST, unknown, LOST]))
    assert bad.what == "2 answers of the last days did not arrive"
    assert "1 answer of" in maybe.what
    assert (bad.grave, maybe.grave) == (True, False)


def test_a_task_is_told_once_it_keeps_failing() -> None:
    assert findings(replace(FINE, failing_tasks=[("task-1", "x", 2)])) == []
    finding = only(replace(FINE, failing_tasks=[("task-1", "water\nthe plants", 3)]))
    assert finding.what.endswith("water the plants")
    assert finding.link == "/tasks/task-1"


def test_the_host_itself_is_looked_at() -> None:
    assert "nearly full: 1023 MB" in only(replace(FINE, free_bytes=LITTLE_ROOM - 1)).what
    assert not only(with_status(host={"root": True, "problem": None})).grave
    assert only(with_status(groups_problem="a key is wrong")).grave
    crashed = only(with_status(host={"root": False, "problem": "the host ended unexpectedly"}))
    assert (crashed.what, crashed.cure) == ("The host ended unexpectedly", "nanoclaw logs")
    assert "12 requests of family" in only(with_status(network={"family": {"refused": 12}})).what


def test_the_gravest_comes_first() -> None:
    known = replace(with_status(host={"root": True, "problem": None}), lost=[LOST])
    assert [finding.grave for finding in findings(known)] == [True, False]
