"""Every attack on every kind of sandbox that the tests' set-up provides; and the suite, seen to fail."""

import os

import anyio
import pytest

from tests.attacks.__main__ import rows_of
from tests.attacks.defences import DEFENCES
from tests.attacks.inside.attempt import ATTEMPTS
from tests.attacks.prove import without
from tests.attacks.surroundings import grounds
from tests.attacks.table import render

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

GROUNDS = ("podman", "bubblewrap", *(("bubblewrap, host is root",) if os.geteuid() == 0 else ()))
REPRESENTATIVE = (
    ("the list of system calls", "bubblewrap"),
    ("no network", "podman"),
    ("nothing of the host mounted but the group's", "bubblewrap"),
    ("looking at the address", "bubblewrap"),
    ("reading mailbox files without following links", "bubblewrap"),
    ("authority by the directory", "bubblewrap"),
)
"""A defence of each sort; `make attacks-prove` takes all of them away."""


@pytest.mark.parametrize("title", GROUNDS)
def test_every_attempt_is_refused(title: str) -> None:
    ground = next(ground for ground in grounds() if ground.title == title)
    assert not ground.missing
    rows = rows_of(ground)
    assert len(rows) > len(ATTEMPTS)
    assert all(row.held for row in rows), render([row for row in rows if not row.held])


@pytest.mark.parametrize(("name", "kind"), REPRESENTATIVE)
def test_a_missing_defence_is_noticed(name: str, kind: str) -> None:
    defence = next(defence for defence in DEFENCES if defence.name == name)
    got_through, said = anyio.run(without, defence, kind)
    assert got_through
    assert not defence.proven or "does not hold" in said


def test_no_two_attempts_have_one_name() -> None:
    names = [(attempt.category, attempt.name) for attempt in ATTEMPTS]
    assert len(names) == len(set(names))
    assert len(names) >= 80
