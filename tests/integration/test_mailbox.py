"""The reader of mailboxes at work: an agent writes files, the host acts and answers."""

import json
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from nanoclaw.errors import MailboxError, MountError, SandboxError, StoreError
from nanoclaw.ipc import files
from nanoclaw.ipc.commands import Command, SendMessage
from nanoclaw.ipc.mailbox import MailboxReader
from nanoclaw.ipc.protocol import ok_answer
from nanoclaw.model import Folder

pytestmark = pytest.mark.anyio

FAMILY = Folder("family")
WORK = Folder("work")
NEVER = 3600.0
"""A rescan that does not come within a test: what is found was found by a change."""
_PATIENCE_SECONDS = 30.0


class Host:
    """Stands for the host's store: applies each key once, answers the same again."""

    def __init__(self) -> None:
        self.applied: list[tuple[Folder, str]] = []
        self.keys: dict[str, dict[str, object]] = {}
        self.problems: list[Exception] = []
        """Raised instead of answering, one a call; the effect has happened then."""
        self._grown = anyio.Event()

    async def apply(self, folder: Folder, key: str, command: Command) -> dict[str, object]:
        assert isinstance(command, SendMessage)
        if key not in self.keys:
            self.applied.append((folder, command.text))
            self.keys[key] = ok_answer(number=len(self.applied))
            self._grown.set()
            self._grown = anyio.Event()
        if self.problems:
            raise self.problems.pop(0)
        return self.keys[key]

    async def has_applied(self, count: int) -> None:
        with anyio.fail_after(_PATIENCE_SECONDS):
            while len(self.applied) < count:
                await self._grown.wait()

    @property
    def texts(self) -> list[str]:
        return [text for _, text in self.applied]


class Agent:
    """Writes into one mailbox as an agent would."""

    def __init__(self, root: Path, folder: Folder) -> None:
        self.box = root / folder

    def send(self, text: str, name: str = "a.json", inbox: str = "messages") -> None:
        temporary = self.box / inbox / f".{name}.tmp"
        temporary.write_text(json.dumps({"type": "message", "text": text}), encoding="utf-8")
        temporary.rename(self.box / inbox / name)

    def answer(self, name: str = "a.json") -> dict[str, object]:
        return json.loads((self.box / "results" / name).read_bytes())

    @property
    def waiting(self) -> list[str]:
        return [path.name for inbox in (*files.INBOXES, files.CLAIMED) for path in (self.box / inbox).iterdir()]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "ipc"


@asynccontextmanager
async def running(reader: MailboxReader) -> AsyncGenerator[None]:
    async with anyio.create_task_group() as tasks:
        await tasks.start(reader.run)
        yield
        tasks.cancel_scope.cancel()


# Counting


async def test_every_file_is_counted_also_what_is_refused_unread(root: Path):
    host, agent = Host(), Agent(root, FAMILY)
    counted: list[tuple[Folder, str]] = []
    reader = MailboxReader(root, host.apply, note=lambda folder, outcome: counted.append((folder, outcome)))
    await reader.open(FAMILY)
    agent.send("hello")
    agent.send("a name that is refused", "no name.json")
    (agent.box / "tasks" / "broken.json").write_text("{}", encoding="utf-8")
    (agent.box / "messages" / "link.json").symlink_to("/etc/passwd")
    await reader.drain(FAMILY)
    assert sorted(counted) == [(FAMILY, "applied"), *[(FAMILY, "refused")] * 3]


# Waking


@pytest.mark.parametrize("inbox", files.INBOXES)
async def test_a_file_is_acted_on_when_it_is_renamed_into_place(root: Path, inbox: str):
    host, agent = Host(), Agent(root, FAMILY)
    reader = MailboxReader(root, host.apply, rescan_seconds=NEVER)
    await reader.open(FAMILY)
    for number in range(5):
        agent.send(f"hello {number}", f".{number}", inbox)
    async with running(reader):
        for number in range(5):
            (agent.box / inbox / f".{number}").rename(agent.box / inbox / f"{number}.json")
            await host.has_applied(number + 1)
    assert host.texts == [f"hello {number}" for number in range(5)]


async def test_a_file_that_is_written_in_place_is_acted_on_when_it_is_closed(root: Path):
    host = Host()
    reader = MailboxReader(root, host.apply, rescan_seconds=NEVER)
    await reader.open(FAMILY)
    async with running(reader):
        for number in range(5):
            (root / FAMILY / "messages" / "a.json").write_bytes(b'{"type": "message", "text": "direct"}')
            await host.has_applied(number + 1)
    assert host.applied == [(FAMILY, "direct")] * 5


async def test_a_mailbox_that_is_opened_while_the_reader_runs_is_read(root: Path):
    host, agent = Host(), Agent(root, FAMILY)
    reader = MailboxReader(root, host.apply, rescan_seconds=NEVER)
    async with running(reader):
        await reader.open(FAMILY)
        await reader.open(FAMILY)
        agent.send("one")
        await host.has_applied(1)
        agent.send("two")
        await host.has_applied(2)


async def test_what_lay_there_before_the_start_is_acted_on(root: Path):
    host, agent = Host(), Agent(root, FAMILY)
    reader = MailboxReader(root, host.apply, rescan_seconds=NEVER)
    await reader.open(FAMILY)
    agent.send("early")
    async with running(reader):
        await host.has_applied(1)


async def test_what_gives_no_event_is_found_by_the_rescan(root: Path):
    host, box = Host(), root / FAMILY
    reader = MailboxReader(root, host.apply, rescan_seconds=0.01)
    await reader.open(FAMILY)
    async with running(reader):
        for number in range(5):
            (box / "results" / ".a").write_bytes(b'{"type": "message", "text": "unwatched"}')
            (box / "results" / ".a").rename(box / "claimed" / f"1-{number}-messages-a.json")
            await host.has_applied(number + 1)
    assert host.texts == ["unwatched"] * 5


async def test_a_mailbox_that_failed_is_read_at_once_when_it_is_opened_again(root: Path):
    host, agent = Host(), Agent(root, FAMILY)
    reader = MailboxReader(root, host.apply, rescan_seconds=NEVER)
    await reader.open(FAMILY)
    async with running(reader):
        (root / FAMILY / "messages").rmdir()
        await reader.drain(FAMILY)
        await reader.open(FAMILY)
        agent.send("still heard")
        await host.has_applied(1)


async def test_when_the_reader_ends_no_file_is_half_done(root: Path):
    host, agent = Host(), Agent(root, FAMILY)
    reader = MailboxReader(root, host.apply, rescan_seconds=NEVER)
    await reader.open(FAMILY)
    for number in range(60):
        agent.send(str(number), f"{number}.json")
    async with running(reader):
        await host.has_applied(7)
    second = MailboxReader(root, host.apply)
    await second.open(FAMILY)
    await second.drain(FAMILY)
    assert sorted(host.texts, key=int) == [str(number) for number in range(60)]
    assert agent.waiting == []


# Draining


async def test_after_a_drain_everything_is_answered_with_and_without_a_running_reader(root: Path):
    host, agent = Host(), Agent(root, FAMILY)
    reader = MailboxReader(root, host.apply, rescan_seconds=NEVER)
    await reader.open(FAMILY)

    async def send_and_drain(turn: str) -> None:
        for number in range(120):
            agent.send(f"{turn}{number}", f"{turn}{number}.json", files.INBOXES[number % 2])
        await reader.drain(FAMILY)
        assert len(host.applied) == len(set(host.texts))
        assert agent.waiting == []

    await send_and_drain("before")
    async with running(reader):
        await send_and_drain("during")
    assert len(host.applied) == 240
    assert agent.answer("during7.json")["ok"] is True


async def test_a_drain_waits_for_the_file_that_is_just_being_acted_on(root: Path):
    host, agent = Host(), Agent(root, FAMILY)
    keys: list[str] = []
    order: list[str] = []

    async def apply(folder: Folder, key: str, command: Command) -> dict[str, object]:
        keys.append(key)
        if len(keys) == 1:
            tasks.start_soon(drain)
            for _ in range(50):  # time enough for a drain that does not wait
                await anyio.to_thread.run_sync(str)
        order.append("applied")
        return await host.apply(folder, key, command)

    async def drain() -> None:
        await reader.drain(FAMILY)
        order.append("drained")
        done.set()

    done = anyio.Event()
    reader = MailboxReader(root, apply, rescan_seconds=NEVER)
    await reader.open(FAMILY)
    agent.send("hello")
    async with running(reader), anyio.create_task_group() as tasks:
        await done.wait()
    assert order == ["applied", "drained"]
    assert len(keys) == 1


async def test_a_drain_judges_what_a_patient_look_would_leave(root: Path):
    host, agent = Host(), Agent(root, FAMILY)
    reader = MailboxReader(root, host.apply, rescan_seconds=NEVER)
    await reader.open(FAMILY)
    (agent.box / "messages" / "cut.json").write_bytes(b'{"type": ')
    (agent.box / "messages" / "note.txt").write_bytes(b"hello")
    (agent.box / "messages" / ".temporary").write_bytes(b"")
    await reader.drain(FAMILY)
    assert "not JSON" in str(agent.answer("cut.json")["error"])
    assert "name must begin" in str(agent.answer("note.txt.json")["error"])
    assert agent.waiting == [".temporary"]


# Answers and refusals


async def test_the_answer_is_what_the_host_said(root: Path):
    host, agent = Host(), Agent(root, FAMILY)
    reader = MailboxReader(root, host.apply)
    await reader.open(FAMILY)
    agent.send("hello")
    await reader.drain(FAMILY)
    assert agent.answer() == {"ok": True, "number": 1}
    assert list((agent.box / "refused").iterdir()) == []


async def test_a_refusal_of_the_host_reaches_the_agent_and_the_file_is_kept(root: Path):
    host, agent = Host(), Agent(root, FAMILY)
    host.problems = [MailboxError("only `main` may do that")]
    reader = MailboxReader(root, host.apply)
    await reader.open(FAMILY)
    agent.send("please")
    await reader.drain(FAMILY)
    assert agent.answer() == {"ok": False, "error": "only `main` may do that"}
    assert len(list((agent.box / "refused").iterdir())) == 1


async def test_a_bug_in_applying_costs_one_file_and_not_the_reader(root: Path):
    host, agent = Host(), Agent(root, FAMILY)
    host.problems = [ZeroDivisionError("a bug")]
    reader = MailboxReader(root, host.apply, rescan_seconds=NEVER)
    await reader.open(FAMILY)
    async with running(reader):
        agent.send("first", "a.json")
        await host.has_applied(1)
        agent.send("second", "b.json")
        await host.has_applied(2)
        await reader.drain(FAMILY)
    assert agent.answer("a.json") == {"ok": False, "error": "internal error; the host's log says more"}
    assert agent.answer("b.json")["ok"] is True
    assert agent.waiting == []


async def test_a_hostile_mailbox_does_not_stop_a_good_file_that_lies_in_it(root: Path):
    host, agent = Host(), Agent(root, FAMILY)
    reader = MailboxReader(root, host.apply)
    await reader.open(FAMILY)
    inbox = agent.box / "messages"
    os.mkfifo(inbox / "pipe.json")
    (inbox / "link.json").symlink_to("/etc/passwd")
    (inbox / "directory.json").mkdir()
    (inbox / "deep.json").write_bytes(b"[" * 200_000)
    (inbox / "latin.json").write_bytes(b'{"type": "message", "text": "\xe9"}')
    (inbox / "empty.json").touch()
    with (inbox / "huge.json").open("wb") as file:
        file.truncate(1 << 40)
    agent.send("good", "good.json")
    await reader.drain(FAMILY)
    assert host.texts == ["good"]
    answers = {path.name: json.loads(path.read_bytes())["ok"] for path in (agent.box / "results").iterdir()}
    assert answers == {
        f"{name}.json": name == "good"
        for name in ("pipe", "link", "directory", "deep", "latin", "empty", "huge", "good")
    }
    assert agent.waiting == []


# Once


async def test_a_crash_after_the_effect_and_before_the_file_is_gone_gives_the_same_key_again(root: Path):
    host, agent = Host(), Agent(root, FAMILY)
    host.problems = [StoreError("the machine went down")]
    crashed = MailboxReader(root, host.apply)
    await crashed.open(FAMILY)
    agent.send("once")
    await crashed.drain(FAMILY)
    assert host.texts == ["once"]
    assert not (agent.box / "results" / "a.json").exists()
    restarted = MailboxReader(root, host.apply)
    await restarted.open(FAMILY)
    await restarted.drain(FAMILY)
    assert host.texts == ["once"]
    assert agent.answer() == {"ok": True, "number": 1}
    assert agent.waiting == []


async def test_the_same_file_written_again_is_another_command(root: Path):
    host, agent = Host(), Agent(root, FAMILY)
    reader = MailboxReader(root, host.apply)
    await reader.open(FAMILY)
    for _ in range(5):
        agent.send("again")
        await reader.drain(FAMILY)
    assert host.texts == ["again"] * 5
    assert len(host.keys) == 5


async def test_a_file_that_replaces_another_while_that_one_is_applied_is_not_lost(root: Path):
    host, agent = Host(), Agent(root, FAMILY)

    async def apply(folder: Folder, key: str, command: Command) -> dict[str, object]:
        answer = await host.apply(folder, key, command)
        if len(host.applied) == 1:
            agent.send("second")
        return answer

    reader = MailboxReader(root, apply)
    await reader.open(FAMILY)
    agent.send("first")
    await reader.drain(FAMILY)
    await reader.drain(FAMILY)
    assert host.texts == ["first", "second"]


async def test_an_answer_that_cannot_be_written_loses_nothing(root: Path):
    host, agent = Host(), Agent(root, FAMILY)
    reader = MailboxReader(root, host.apply)
    await reader.open(FAMILY)
    (agent.box / "results" / "a.json").mkdir()
    agent.send("once")
    await reader.drain(FAMILY)
    await reader.drain(FAMILY)
    assert len(agent.waiting) == 1
    (agent.box / "results" / "a.json").rmdir()
    await reader.drain(FAMILY)
    assert host.texts == ["once"]
    assert agent.answer() == {"ok": True, "number": 1}
    assert agent.waiting == []


async def test_a_machine_that_fails_is_not_asked_again_at_every_rescan(root: Path):
    host, agent = Host(), Agent(root, FAMILY)
    calls = 0

    async def apply(folder: Folder, key: str, command: Command) -> dict[str, object]:
        nonlocal calls
        if folder == FAMILY:
            calls += 1
            raise StoreError("the disk is full")
        return await host.apply(folder, key, command)

    reader = MailboxReader(root, apply, rescan_seconds=0.001)
    await reader.open(FAMILY)
    await reader.open(WORK)
    async with running(reader):
        agent.send("stuck")
        for number in range(50):
            Agent(root, WORK).send(str(number))
            await host.has_applied(number + 1)
    assert calls <= 2
    assert len(agent.waiting) == 1


# Fairness


async def test_a_group_that_floods_does_not_hold_up_another(root: Path):
    host = Host()
    reader = MailboxReader(root, host.apply, rescan_seconds=NEVER)
    await reader.open(FAMILY)
    await reader.open(WORK)
    for number in range(1000):
        Agent(root, FAMILY).send(str(number), f"{number}.json")
    for number in range(3):
        Agent(root, WORK).send(str(number), f"{number}.json")
    async with running(reader):
        await host.has_applied(100)
    assert [folder for folder, _ in host.applied[:100]].count(WORK) == 3


async def test_a_flood_is_held_to_its_allowance_until_the_next_rescan_and_then_goes_on(root: Path):
    host = Host()
    reader = MailboxReader(root, host.apply, rescan_seconds=NEVER)
    await reader.open(FAMILY)
    await reader.open(WORK)
    for number in range(1200):
        Agent(root, FAMILY).send(str(number), f"{number}.json")
    async with running(reader):
        await host.has_applied(900)
        for number in range(200):
            Agent(root, WORK).send(str(number))
            await reader.drain(WORK)
    flood = [folder for folder, _ in host.applied].count(FAMILY)
    assert flood < 1100
    quick = MailboxReader(root, host.apply, rescan_seconds=0.01)
    await quick.open(FAMILY)
    async with running(quick):
        await host.has_applied(1400)


async def test_a_group_whose_commands_hang_does_not_hold_up_another(root: Path):
    host = Host()
    entered = anyio.Event()

    async def apply(folder: Folder, key: str, command: Command) -> dict[str, object]:
        if folder == FAMILY:
            entered.set()
            await anyio.sleep_forever()
        return await host.apply(folder, key, command)

    reader = MailboxReader(root, apply, rescan_seconds=NEVER)
    await reader.open(FAMILY)
    await reader.open(WORK)
    async with running(reader):
        Agent(root, FAMILY).send("hangs")
        await entered.wait()
        Agent(root, WORK).send("passes")
        await host.has_applied(1)
    assert host.applied == [(WORK, "passes")]


# What cannot be opened


async def test_a_mailbox_with_a_link_in_it_is_not_opened(root: Path, tmp_path: Path):
    reader = MailboxReader(root, Host().apply)
    await reader.open(FAMILY)
    (root / FAMILY / "results").rmdir()
    (root / FAMILY / "results").symlink_to(tmp_path)
    with pytest.raises(MountError, match="is no mailbox"):
        await reader.open(FAMILY)


async def test_a_mailbox_that_cannot_be_made_is_worth_another_try(tmp_path: Path):
    (tmp_path / "ipc").touch()
    with pytest.raises(SandboxError, match="cannot be made ready") as caught:
        await MailboxReader(tmp_path / "ipc", Host().apply).open(FAMILY)
    assert caught.value.retryable
