"""Every problem that the doctor can find is provoked once, and cured by what it says."""

import ast
import contextlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Final, Literal

import anyio
import anyio.lowlevel
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nanoclaw import __version__, doctor
from nanoclaw.channels.whatsapp import account
from nanoclaw.channels.whatsapp.protocol import Account
from nanoclaw.cli.doctor import told
from nanoclaw.clock import SystemClock, iso
from nanoclaw.config import Home
from nanoclaw.credentials.accounts import adopt_login
from nanoclaw.credentials.login import parse_login
from nanoclaw.credentials.spent import note_refusal
from nanoclaw.doctor import CHECKS, PROBLEMS, TRIALS, Finding, Scene, examine, look_around
from nanoclaw.doctor.findings import problem
from nanoclaw.groups import Entries, change_groups, new_entry
from nanoclaw.initialise import initialise
from nanoclaw.ipc.files import prepare
from nanoclaw.lock import only_writer
from nanoclaw.model import Folder
from nanoclaw.sandbox.proof import Record, Verdict, keep
from nanoclaw.service.managers import ServiceState
from nanoclaw.serving import serve_on
from nanoclaw.store.database import connect, migrations
from nanoclaw.testing.models.signin import synthetic_auth_json
from nanoclaw.web.application import listen

pytestmark = pytest.mark.anyio

MAIN: Final = Folder("main")
NOW: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
RUNNING: Final[dict[str, Any]] = {
    "host": {"version": __version__, "since": "2026-03-01T11:00:00.000000Z"},
    "channels": [],
    "page": {"port": 1, "problem": None},
}
"""What a healthy host says, as far as the doctor reads it."""


BOOT: Final = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
SERVICE: Final = ServiceState(
    manager="systemd", unit="nanoclaw.service", path=Path("x"), installed=True, running=True, detail="active"
)


class Patient:
    """A home in which all is well, and what is done to it."""

    def __init__(self, directory: Path, environment: pytest.MonkeyPatch, stack: ExitStack) -> None:
        self.home = Home(directory / "home")
        self.elsewhere = directory
        self.environment = environment
        self.stack = stack
        self.facts: dict[str, Any] = {"now": NOW, "synchronised": True, "zone": "Europe/Berlin", "room": 50 << 30}
        self.facts |= {"service": SERVICE, "uid": 1000, "agent_uid": os.geteuid() or 1000}
        self.status: dict[str, Any] | None = RUNNING
        self.servers: list[tuple[int, datetime]] = []
        initialise(self.home)
        self.home.database.parent.mkdir(mode=0o700, exist_ok=True)
        connect(self.home.database, NOW).close()
        self.settings("")
        self.env("ANTHROPIC_API_KEY=sk-ant-test\n")

    def settings(self, lines: str, *, engine: str = "bubblewrap", port: int = 0) -> None:
        tables = f'[page]\nport = {port}\n[sandbox]\nengine = "{engine}"\n'
        self.home.settings.write_text(f"{tables}{lines}", encoding="utf-8")

    def env(self, text: str) -> None:
        self.home.env.write_text(text, encoding="utf-8")

    def register(self, jid: str, folder: str) -> None:
        def change(entries: Entries) -> None:
            entries[jid] = new_entry(folder, folder, "@Andy", iso(NOW))

        change_groups(self.home.registered_groups, change)

    def sql(self, statement: str) -> None:
        with contextlib.closing(sqlite3.connect(self.home.database)) as db, db:
            db.execute(statement)

    def proven(self, **verdict: Any) -> None:  # noqa: ANN401
        keep(self.home, Record(folder="main", sandbox="bubblewrap", at=NOW, verdict=Verdict(**verdict)))

    def in_mailbox(self) -> Path:
        prepare(self.home.mailboxes, MAIN)
        path = self.home.mailboxes / "main" / "tasks" / "x.json"
        path.write_text("{}")
        return path

    async def scene(self) -> Scene:
        seen = await look_around(self.home)
        status = None if seen.silent else self.status
        return replace(seen, machine=replace(seen.machine, **self.facts), status=status)

    async def findings(self, *, trials: bool = True) -> list[Finding]:
        if not trials:
            scene = await self.scene()
            return [finding for check in CHECKS for finding in check(scene)]
        async with contextlib.AsyncExitStack() as stack:
            for port, now in self.servers:
                await stack.enter_async_context(answering(port, now))
            return await examine(await self.scene())


@asynccontextmanager
async def answering(port: int, now: datetime) -> AsyncGenerator[None]:
    """A provider on loopback that tells what time it is there."""

    async def answer(_request: Request) -> Response:
        return Response(status_code=404, headers={"date": format_datetime(now, usegmt=True)})

    async with anyio.create_task_group() as group:
        await group.start(serve_on, Starlette(routes=[Route("/", answer)]), listen(port))
        yield
        group.cancel_scope.cancel()


Act = Callable[[Patient], object]


@dataclass(frozen=True)
class Case:
    """`cure` is what the finding's hint says, done here; `fix`: what `--fix` does; None: a note that needs none."""

    provoke: Act
    cure: Act | Literal["fix"] | None


def fact(**changed: Any) -> Act:  # noqa: ANN401
    return lambda patient: patient.facts.update(changed)


def status(**changed: Any) -> Act:  # noqa: ANN401
    return lambda patient: setattr(patient, "status", {**RUNNING, **changed})


def text(place: str, content: str) -> Act:
    return lambda patient: (patient.home.root / place).write_text(content, encoding="utf-8")


def settings(lines: str, **other: Any) -> Act:  # noqa: ANN401
    return lambda patient: patient.settings(lines, **other)


def no_host(patient: Patient) -> None:
    patient.status = None


def a_foreign_home(patient: Patient) -> None:
    if os.geteuid() == 0:
        os.chown(patient.home.env, 12345, 12345)
    else:  # nobody can give a file away: then look at somebody else's
        patient.home.run.rmdir() if not any(patient.home.run.iterdir()) else shutil.rmtree(patient.home.run)
        patient.home = Home(Path("/usr"))


def a_home_of_our_own(patient: Patient) -> None:
    if os.geteuid() == 0:
        os.chown(patient.home.env, 0, 0)
    else:
        patient.home = Home(patient.elsewhere / "home")


def foreign_files(patient: Patient) -> None:
    (patient.home.groups / "main" / "notes.md").write_text("x")
    patient.facts |= {"agent_uid": 1000 if os.geteuid() == 0 else 12345}


def given_files(patient: Patient) -> None:
    if os.geteuid() == 0:
        for path in (patient.home.groups / "main").rglob("*"):
            os.chown(path, 1000, 1000)
    else:
        patient.facts |= {"agent_uid": os.geteuid()}


def a_mode_that_is_wrong(patient: Patient) -> None:
    prepare(patient.home.mailboxes, MAIN)
    (patient.home.mailboxes / "main" / "results").chmod(0o700)


def a_file_that_waits(patient: Patient) -> None:
    patient.in_mailbox()
    patient.status = None


def a_file_that_is_stuck(patient: Patient) -> None:
    patient.in_mailbox()
    patient.facts["now"] = SystemClock().now() + timedelta(minutes=10)


def without_the_file(patient: Patient) -> None:
    (patient.home.mailboxes / "main" / "tasks" / "x.json").unlink()


def long_paths(patient: Patient) -> None:
    patient.home = Home(patient.elsewhere / ("h" * 100))
    initialise(patient.home)
    patient.environment.setenv("XDG_RUNTIME_DIR", str(patient.elsewhere / ("r" * 100)))


def a_short_path(patient: Patient) -> None:
    patient.environment.setenv("XDG_RUNTIME_DIR", "/run")


def a_link_for_sockets(patient: Patient) -> None:
    place = Path("/tmp") / f"nc-{os.getpid()}"  # short, as sockets need it
    place.mkdir()
    patient.stack.callback(shutil.rmtree, place)
    long_paths(patient)
    patient.environment.setenv("XDG_RUNTIME_DIR", str(place))
    patient.home.sockets.symlink_to(patient.elsewhere)


def without_the_link(patient: Patient) -> None:
    patient.home.sockets.unlink()


def a_full_group(megabytes: float) -> Act:
    def act(patient: Patient) -> None:
        patient.settings('disk = "10m"\n')
        (patient.home.groups / "main" / "big").write_bytes(b"x" * int(megabytes * (1 << 20)))

    return act


def room_in_the_group(patient: Patient) -> None:
    (patient.home.groups / "main" / "big").unlink()


def a_provider(off: timedelta | None) -> Act:
    """`off`: by how much its clock and ours differ; None: nobody is there."""

    def act(patient: Patient) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        patient.env(f"ANTHROPIC_API_KEY=sk-ant-test\nANTHROPIC_BASE_URL=http://127.0.0.1:{port}\n")
        patient.servers = [] if off is None else [(port, NOW + off)]

    return act


def a_taken_port(patient: Patient) -> None:
    taken = patient.stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    patient.settings("", port=taken.getsockname()[1])
    patient.status = None


def no_database(patient: Patient) -> None:
    patient.home.database.unlink()


def a_database(patient: Patient) -> None:
    connect(patient.home.database, NOW).close()


def a_damaged_database(patient: Patient) -> None:
    shutil.copy(patient.home.database, patient.elsewhere / "backup.db")
    with patient.home.database.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 8192)


def the_backup(patient: Patient) -> None:
    shutil.copy(patient.elsewhere / "backup.db", patient.home.database)


def a_directory_for_a_database(patient: Patient) -> None:
    patient.home.database.unlink()
    patient.home.database.mkdir()


def a_database_again(patient: Patient) -> None:
    patient.home.database.rmdir()
    a_database(patient)


def an_older_database(patient: Patient) -> None:
    patient.home.database.unlink()
    name, sql = next(iter(migrations().items()))
    with contextlib.closing(sqlite3.connect(patient.home.database)) as db, db:
        db.executescript(f"{sql}; CREATE TABLE migration (name TEXT PRIMARY KEY, applied_at TEXT NOT NULL);")
        db.execute("INSERT INTO migration VALUES (?, '')", (name,))


def a_large_log(patient: Patient) -> None:
    with patient.home.database.with_name("nanoclaw.db-wal").open("wb") as file:
        file.truncate(65 << 20)
    patient.status = None


def a_login_that_ended(patient: Patient) -> None:
    login = json.dumps(synthetic_auth_json()).encode()
    adopt_login(patient.home, login)
    note_refusal(patient.home, parse_login(login), "refresh_token_reused", NOW)


def a_new_login(patient: Patient) -> None:
    adopt_login(patient.home, json.dumps(synthetic_auth_json()).encode())


def a_refused_login(patient: Patient) -> None:
    place = patient.home.credentials / "groups" / "main"
    place.mkdir(mode=0o700, parents=True)
    (place / "refused-20260301T120000Z.json").write_text("{}")


def without_the_refused_login(patient: Patient) -> None:
    (patient.home.credentials / "groups" / "main" / "refused-20260301T120000Z.json").unlink()


def no_programs(patient: Patient) -> None:
    patient.environment.setenv("PATH", str(patient.elsewhere))
    patient.settings("", engine="podman")


def bubblewrap_alone(patient: Patient) -> None:
    programs = patient.elsewhere / "bin"
    programs.mkdir()
    for name in ("bwrap", "prlimit", "setpriv", "sh", "test", "id", "grep"):
        (programs / name).symlink_to(str(shutil.which(name)))
    patient.environment.setenv("PATH", str(programs))
    patient.settings("", engine="auto")


def the_engine_named(patient: Patient) -> None:
    patient.settings("", engine="bubblewrap")


def no_toolkit(patient: Patient) -> None:
    patient.environment.setenv("XDG_DATA_HOME", str(patient.elsewhere / "nothing"))


def the_toolkit(patient: Patient) -> None:
    patient.environment.delenv("XDG_DATA_HOME")


def a_sandbox_without_a_host(patient: Patient) -> None:
    environment = {**os.environ, "NANOCLAW_INSTALLATION": patient.home.installation()}
    left = subprocess.Popen(["bwrap", "--dev-bind", "/", "/", "sleep", "1000"], env=environment)
    patient.stack.callback(left.wait, 10)
    patient.stack.callback(left.kill)
    while not Path(f"/proc/{left.pid}/exe").readlink().name.startswith("bwrap"):
        os.sched_yield()
    patient.status = None


def another_neonize(patient: Patient) -> None:
    patient.settings("[whatsapp]\nenabled = true\n")
    found = patient.elsewhere / "packages" / "neonize-0.1.dist-info"
    found.mkdir(parents=True)
    (found / "METADATA").write_text("Metadata-Version: 2.1\nName: neonize\nVersion: 0.1\n")
    patient.environment.syspath_prepend(str(found.parent))  # pyright: ignore[reportUnknownMemberType]


def the_right_neonize(patient: Patient) -> None:
    shutil.rmtree(patient.elsewhere / "packages")


def linked(patient: Patient) -> None:
    patient.home.whatsapp.mkdir(mode=0o700, exist_ok=True)
    account.save(patient.home.whatsapp, Account(phone="4915112345678"))


def crashed_often(patient: Patient) -> None:
    lives = [{"began": iso(NOW), "boot": BOOT, "end": "RuntimeError: a fault"} for _ in range(5)]
    (patient.home.run / "lives.json").write_text(json.dumps(lives), encoding="utf-8")
    patient.status = None


def a_silent_host(patient: Patient) -> None:
    patient.stack.enter_context(only_writer(patient.home))


CASES: Final[dict[str, Case]] = {
    "settings-broken": Case(text("nanoclaw.toml", "asistant_name = 'x'"), settings("")),
    "secrets-broken": Case(text(".env", "what?"), text(".env", "ANTHROPIC_API_KEY=sk-ant-test")),
    "groups-broken": Case(text("data/registered_groups.json", "{"), text("data/registered_groups.json", "{}")),
    "home-incomplete": Case(lambda patient: patient.home.logs.rmdir(), "fix"),
    "home-exposed": Case(lambda patient: patient.home.env.chmod(0o644), "fix"),
    "home-foreign": Case(a_foreign_home, a_home_of_our_own),
    "root": Case(fact(uid=0), fact(uid=1000)),
    "files-foreign": Case(foreign_files, given_files),
    "mailbox-broken": Case(a_mode_that_is_wrong, "fix"),
    "mailbox-waiting": Case(a_file_that_waits, without_the_file),
    "mailbox-stuck": Case(a_file_that_is_stuck, without_the_file),
    "sockets-too-long": Case(long_paths, a_short_path),
    "sockets-foreign": Case(a_link_for_sockets, without_the_link),
    "disk-full": Case(fact(room=1 << 20), fact(room=50 << 30)),
    "disk-low": Case(fact(room=1 << 30), fact(room=50 << 30)),
    "quota-full": Case(a_full_group(11), room_in_the_group),
    "quota-near": Case(a_full_group(9.5), room_in_the_group),
    "clock-wrong": Case(fact(now=datetime(2013, 1, 1, tzinfo=UTC)), fact(now=NOW)),
    "clock-off": Case(a_provider(timedelta(hours=2)), a_provider(timedelta(seconds=20))),
    "clock-free": Case(fact(synchronised=False), fact(synchronised=True)),
    "timezone-unknown": Case(fact(zone=None), fact(zone="Europe/Berlin")),
    "page-port-taken": Case(a_taken_port, settings("", port=0)),
    "database-missing": Case(no_database, a_database),
    "database-damaged": Case(a_damaged_database, the_backup),
    "database-unreadable": Case(a_directory_for_a_database, a_database_again),
    "database-newer": Case(
        lambda patient: patient.sql("INSERT INTO migration VALUES ('9999_later.sql', '')"),
        lambda patient: patient.sql("DELETE FROM migration WHERE name = '9999_later.sql'"),
    ),
    "database-older": Case(an_older_database, a_database),
    "database-log-large": Case(a_large_log, "fix"),
    "sign-in-missing": Case(text(".env", ""), text(".env", "ANTHROPIC_API_KEY=sk-ant-test")),
    "login-broken": Case(a_login_that_ended, a_new_login),
    "login-refused": Case(a_refused_login, without_the_refused_login),
    "provider-unreachable": Case(a_provider(None), a_provider(timedelta())),
    "sandbox-missing": Case(no_programs, the_engine_named),
    "sandbox-weaker": Case(bubblewrap_alone, the_engine_named),
    "sandbox-lacks": Case(settings("", engine="bubblewrap"), None),
    "image-missing": Case(no_toolkit, the_toolkit),
    "proof-failed": Case(
        lambda patient: patient.proven(proven=True, failed={"network": "there is an interface eth0"}),
        lambda patient: patient.proven(proven=True, milliseconds=3.0),
    ),
    "proof-missing": Case(
        lambda patient: patient.proven(problem="it gave no proof"),
        lambda patient: patient.proven(proven=True, milliseconds=3.0),
    ),
    "sandboxes-stale": Case(a_sandbox_without_a_host, "fix"),
    "channel-off": Case(
        lambda patient: patient.register("123@g.us", "family"), settings("[whatsapp]\nenabled = true\n")
    ),
    "channel-down": Case(
        status(channels=[{"name": "whatsapp", "problem": "banned", "hint": "", "state": "banned"}]), status()
    ),
    "whatsapp-unusable": Case(another_neonize, the_right_neonize),
    "whatsapp-unlinked": Case(settings("[whatsapp]\nenabled = true\n"), linked),
    "host-absent": Case(no_host, status()),
    "host-stopped-itself": Case(crashed_often, lambda patient: (patient.home.run / "lives.json").unlink()),
    "host-crashed": Case(status(host={**RUNNING["host"], "problem": "it ended"}), status()),
    "service-absent": Case(fact(service=None), fact(service=SERVICE)),
    "service-stopped": Case(fact(service=replace(SERVICE, running=False)), fact(service=SERVICE)),
    "service-leaves": Case(fact(service=replace(SERVICE, lingers=False)), fact(service=SERVICE)),
    "host-silent": Case(a_silent_host, lambda patient: patient.stack.close()),
    "host-other-version": Case(status(host={"version": "0.0.1", "since": ""}), status()),
    "unreadable": Case(text(".env", "what?"), text(".env", "ANTHROPIC_API_KEY=sk-ant-test")),
}
TRIED: Final = ("sandbox", "image", "provider", "clock-off")
"""How those problems begin that need a trial, which takes a second."""


@pytest.fixture
def patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with ExitStack() as stack:
        yield Patient(tmp_path, monkeypatch, stack)


async def found(patient: Patient, name: str) -> list[Finding]:
    return [finding for finding in await patient.findings(trials=name.startswith(TRIED)) if finding.problem == name]


async def test_a_home_in_which_all_is_well_has_no_problem(patient: Patient):
    a_provider(timedelta())(patient)
    findings = await patient.findings()
    assert {finding.problem for finding in findings if not finding.healthy} == set()
    assert {finding.problem for finding in findings} <= {"", "sandbox-lacks"}


@pytest.mark.parametrize("name", CASES)
async def test_a_problem_is_found_told_and_cured(patient: Patient, name: str):
    a_provider(timedelta())(patient)
    case = CASES[name]
    case.provoke(patient)
    finding, *_ = await found(patient, name)
    assert finding.severity == PROBLEMS[name].severity
    assert finding.what
    assert finding.why
    assert finding.hint or finding.severity == "note"
    assert finding.healthy == (finding.severity == "note")
    if case.cure == "fix":
        assert finding.mend is not None
        assert not finding.mend.asks
        await finding.mend.run(lambda _line: None)
    elif case.cure is not None:
        case.cure(patient)
    assert case.cure is None or not await found(patient, name)


def test_every_problem_has_its_case():
    assert CASES.keys() == PROBLEMS.keys()
    assert all(case.cure or PROBLEMS[name].severity == "note" for name, case in CASES.items())


def test_every_problem_is_found_by_some_check_and_every_check_is_carried_out():
    named: set[str] = set()
    checks: set[str] = set()
    for path in Path(str(doctor.__file__)).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Constant(value=str(value)):
                    named |= {value} & PROBLEMS.keys() if path.name != "findings.py" else set()
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if not name.startswith("_"):
                    returns = ast.unparse(node.returns) if node.returns else ""
                    checks |= {name} if returns.endswith("Iterator[Finding]") else set()
                case _:
                    pass
    assert named == PROBLEMS.keys()
    assert checks == {check.__name__ for check in (*CHECKS, *TRIALS)}


async def test_what_takes_long_is_asked_before(patient: Patient):
    no_toolkit(patient)
    (finding,) = await found(patient, "image-missing")
    assert finding.mend
    assert finding.mend.asks


async def test_a_clock_that_is_behind_what_was_stored_is_wrong(patient: Patient):
    patient.sql(
        "INSERT INTO message (account, chat, sender, ext_id, sender_name, text, sent_at, received_at)"
        f" VALUES ('a', 'c', 's', 'e', 'n', 't', '{iso(NOW)}', '{iso(NOW + timedelta(days=3))}')"
    )
    assert await found(patient, "clock-wrong")


async def test_what_lies_in_a_mailboxs_place_is_named_and_not_touched(patient: Patient):
    patient.home.mailboxes.mkdir(exist_ok=True)
    place = patient.home.mailboxes / "main"
    place.write_text("x")
    (finding,) = await found(patient, "mailbox-broken")
    assert str(place) in finding.hint
    assert finding.mend is None


async def test_a_look_at_a_host_that_starts_does_not_keep_it_from_starting(patient: Patient):
    async with anyio.create_task_group() as looking:

        async def look() -> None:
            while True:
                await look_around(patient.home, online=False)

        looking.start_soon(look)
        for _ in range(200):
            with only_writer(patient.home):
                await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
        looking.cancel_scope.cancel()


async def test_nobody_is_asked_when_nobody_is_to_be(patient: Patient):
    a_provider(None)(patient)
    findings = await examine(replace(await patient.scene(), online=False))
    assert "provider-unreachable" not in {finding.problem for finding in findings}


def test_a_finding_fits_a_narrow_terminal():
    finding = problem("disk-low", "disk", "1.0 GB are free", "remove something")
    lines = told(finding, 40).splitlines()
    assert all(len(line) <= 40 for line in lines)
    assert lines[0] == "disk: 1.0 GB are free"
    assert "→ remove something" in lines[-1]
    assert told(finding, 0).count("\n") == 2
