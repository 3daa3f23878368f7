"""Every input that a parser once failed on, again; and a few new ones for each."""

import pytest

from tests.fuzz.__main__ import bounded, fuzz, kept
from tests.fuzz.target import TARGETS

_NEW = 300
_SEED = 20261122
_SECONDS = 5.0  # of work, for one input


@pytest.mark.parametrize("name", TARGETS)
def test_what_once_failed_does_not_fail_again(name: str) -> None:
    for path in kept(name):
        with bounded(_SECONDS):
            TARGETS[name].check(path.read_bytes())


@pytest.mark.parametrize("name", [name for name in TARGETS if name != "door"])
def test_hostile_input_is_refused_or_understood(name: str) -> None:
    assert fuzz(TARGETS[name], _NEW, _SEED) == {}
