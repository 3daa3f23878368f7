"""Every attack on every kind of sandbox that the tests' set-up provides; and the suite, seen to fail."""

import logging
import os
from collections.abc import Generator

import anyio
import pytest
import structlog

from tests.attacks.__main__ import rows_of
from tests.attacks.defences import DEFENCES
from tests.attacks.inside.attempt import ATTEMPTS
from tests.attacks.prove import without
from tests.attacks.surroundings import grounds
from tests.attacks.table import in_short

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]  # a minute and a half; a busy machine takes several times that

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


@pytest.fixture(autouse=True)
def quiet(request: pytest.FixtureRequest) -> Generator[None]:
    """Without the host's log, which would bury what failed; `pytest -s` shows it."""
    before = structlog.get_config()
    if request.config.getoption("capture") != "no":
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


@pytest.mark.parametrize("title", GROUNDS)
def test_every_attempt_is_refused(title: str) -> None:
    ground = next(ground for ground in grounds() if ground.title == title)
    assert not ground.missing
    rows = rows_of(ground)
    assert len(rows) > len(ATTEMPTS)
    if not all(row.held for row in rows):
        pytest.fail(in_short(rows), pytrace=False)  # short and last: a log that is cut names them, too


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
