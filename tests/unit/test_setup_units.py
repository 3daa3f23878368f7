"""The service's unit files."""

import os
import plistlib
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from nanoclaw.errors import ConfigError
from nanoclaw.service.managers import service_name
from nanoclaw.service.units import ServiceSpec, crontab_line, launchd_plist, systemd_unit

PYTHON = "/usr/bin/python3"
SPEC = ServiceSpec(
    name="nanoclaw",
    command=(PYTHON, "-P", "-m", "nanoclaw", "--home", "/srv/my claw", "run"),
    home=Path("/srv/my claw"),
    log=Path("/srv/my claw/logs/service.log"),
    environment={"PATH": "/usr/bin:/bin", "TZ": "Europe/Berlin"},
    grace_seconds=20.0,
)
NASTY = replace(
    SPEC,
    command=(PYTHON, "--home", "/srv/100% \"quoted\" $HOME \\ 'x' äö", "run"),
    home=Path("/srv/100% äö"),
    environment={"PATH": '/a b:/c"d:%h'},
)


def keys(unit: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in unit.splitlines() if "=" in line and not line.startswith("#"))


def test_the_unit_says_what_it_must() -> None:
    unit = systemd_unit(SPEC)
    found = keys(unit)
    assert found["ExecStart"] == f'"{PYTHON}" "-P" "-m" "nanoclaw" "--home" "/srv/my claw" "run"'
    assert found["WorkingDirectory"] == "/srv/my claw"
    assert int(found["TimeoutStopSec"]) > SPEC.grace_seconds + 15
    assert (found["Restart"], found["RestartPreventExitStatus"]) == ("on-failure", "2 4")
    limit, pause = int(found["StartLimitIntervalSec"]), int(found["RestartSec"])
    assert int(found["StartLimitBurst"]) * (pause + 10) < limit  # a loop stays within the interval: it is noticed
    assert found["WantedBy"] == "default.target"
    assert "User" not in found
    assert unit.index("[Unit]") < unit.index("[Service]") < unit.index("[Install]")


def test_a_unit_of_the_system_runs_as_the_homes_owner() -> None:
    found = keys(systemd_unit(replace(SPEC, user="ann")))
    assert (found["User"], found["WantedBy"], found["Wants"]) == ("ann", "multi-user.target", "network-online.target")


def test_nothing_in_it_keeps_sandboxes_from_working() -> None:
    harmful = ("NoNewPrivileges", "Protect", "Private", "SystemCall", "Restrict", "LockPersonality", "MemoryDeny")
    assert not [key for key in keys(systemd_unit(SPEC)) if key.startswith(harmful)]


@pytest.mark.parametrize("spec", [SPEC, NASTY, replace(SPEC, user="root")], ids=["plain", "nasty", "system"])
def test_systemd_itself_finds_nothing_wrong(spec: ServiceSpec, tmp_path: Path) -> None:
    """Where there is no systemd, the text alone is looked at, by the tests beside."""
    program = shutil.which("systemd-analyze")
    path = tmp_path / "nanoclaw.service"
    path.write_text(systemd_unit(spec), encoding="utf-8")
    if program is None:
        return
    scope = [] if spec.user else ["--user"]
    tmp_path.chmod(0o700)
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(
        [program, *scope, "verify", path], capture_output=True, text=True, check=False, env=environment
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_words_reach_the_program_as_they_are() -> None:
    found = keys(systemd_unit(NASTY))
    assert found["ExecStart"].endswith(r'''"/srv/100%% \"quoted\" $$HOME \\ 'x' äö" "run"''')
    assert found["Environment"] == r'"PATH=/a b:/c\"d:%%h"'
    assert found["WorkingDirectory"] == "/srv/100%% äö"


def test_a_path_that_would_begin_a_line_of_its_own_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot stand in a unit file"):
        systemd_unit(replace(SPEC, command=("/bin/x", "a\nUser=root")))
    with pytest.raises(ConfigError):
        systemd_unit(replace(SPEC, home=Path("/srv/a\n[Service]")))


def test_the_property_list_says_what_it_must() -> None:
    found = plistlib.loads(launchd_plist(NASTY))
    assert found["ProgramArguments"] == list(NASTY.command)
    assert found["EnvironmentVariables"] == NASTY.environment
    assert found["KeepAlive"] == {"SuccessfulExit": False}
    assert found["ExitTimeOut"] == 60
    assert {type(found[key]) for key in ("Label", "WorkingDirectory", "StandardErrorPath")} == {str}
    assert (type(found["RunAtLoad"]), type(found["Umask"]), type(found["ThrottleInterval"])) == (bool, int, int)


def test_the_line_for_cron_is_quoted() -> None:
    assert crontab_line(SPEC) == f"@reboot {PYTHON} -P -m nanoclaw --home '/srv/my claw' run"
    assert r"\%" in crontab_line(NASTY)


def test_each_home_has_a_service_of_its_own() -> None:
    usual = Path("~/nanoclaw").expanduser()
    assert service_name(usual) == "nanoclaw"
    assert service_name(usual, launchd=True) == "local.nanoclaw"
    names = {service_name(Path(path)) for path in ("/a/claw", "/b/claw", "/a/my claw", "/a/ö")}
    assert len(names) == 4
    assert all(name.replace("-", "").isalnum() and name.isascii() for name in names)
