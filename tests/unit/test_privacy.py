"""The home is its owner's alone."""

import os
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from nanoclaw.config import Home
from nanoclaw.initialise import initialise
from nanoclaw.privacy import exposures, make_home_private


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    initialise(home)
    home.database.parent.mkdir(mode=0o700)
    home.credentials.mkdir(mode=0o700)
    for path in (home.database, home.credentials / "login.json"):
        path.touch(0o600)
    return home


def test_a_fresh_home_is_private(home: Home) -> None:
    assert exposures(home) == []


@pytest.mark.parametrize("place", ["", "data", "run", "logs", "store", "credentials", "groups"])
def test_a_directory_that_others_can_enter_is_made_private(home: Home, place: str) -> None:
    path = home.root / place
    path.chmod(0o755)
    assert [exposure.path for exposure in exposures(home)] == [path]
    make_home_private(home)
    assert path.stat().st_mode & 0o777 == 0o700
    assert exposures(home) == []


@pytest.mark.parametrize("place", [".env", "store/nanoclaw.db", "store/nanoclaw.db-wal", "credentials/login.json"])
def test_a_secret_that_others_can_read_is_made_private(home: Home, place: str) -> None:
    path = home.root / place
    path.touch()
    path.chmod(0o644)
    assert str(path) in str(exposures(home)[0])
    with capture_logs() as logged:
        make_home_private(home)
    assert path.stat().st_mode & 0o777 == 0o600
    assert str(path) in [entry.get("path") for entry in logged]


def test_no_link_is_followed(home: Home, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.touch(0o644)
    outside.chmod(0o644)
    home.env.unlink()
    home.env.symlink_to(outside)
    make_home_private(home)
    assert outside.stat().st_mode & 0o777 == 0o644


def test_what_belongs_to_somebody_else_is_told_and_left_alone(home: Home) -> None:
    if os.geteuid() != 0:  # nobody can give a file away: then look at the whole of it as somebody else's
        assert exposures(Home(Path("/")))[0].foreign
        return
    os.chown(home.env, 4711, 4711)
    (exposure,) = exposures(home)
    assert exposure.foreign
    with capture_logs() as logged:
        make_home_private(home)
    assert [entry["path"] for entry in logged if entry["log_level"] == "error"] == [str(home.env)]


def test_a_host_that_is_root_is_told_so_once(home: Home) -> None:
    structlog.reset_defaults()
    with capture_logs() as logged:
        make_home_private(home)
    assert [entry["event"] for entry in logged] == (["host.is_root"] if os.geteuid() == 0 else [])
