"""One mailbox on disk, against everything an agent can put there. The agent is played by plain file operations."""

import json
import os
import socket
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nanoclaw.clock import SystemClock
from nanoclaw.errors import MailboxError
from nanoclaw.ipc import files, handles
from nanoclaw.ipc.commands import SendMessage
from nanoclaw.ipc.files import Haul
from nanoclaw.ipc.handles import Entry
from nanoclaw.ipc.protocol import ok_answer
from nanoclaw.model import Folder

FAMILY = Folder("family")


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """The mailbox of `family`, as its directory."""
    root = tmp_path / "ipc"
    files.prepare(root, FAMILY)
    return root / FAMILY


def message(text: str) -> bytes:
    return json.dumps({"type": "message", "text": text}).encode()


def look(box: Path, *, now: float | None = None, patient: bool = False) -> Haul:
    """Collect, and finish what was collected as the reader would."""
    with files.opened(box.parent, Folder(box.name)) as opened:
        moment = SystemClock().now().timestamp() if now is None else now
        haul = files.collect(opened, moment, patient=patient)
        for claim in haul.claims:
            refused = isinstance(claim.command, MailboxError)
            files.finish(opened, claim, files.encode(ok_answer()), refused=refused)
        files.tidy(opened)
    return haul


def look_until_done(box: Path) -> list[Haul]:
    hauls = [look(box)]
    while hauls[-1].more:
        hauls.append(look(box))
    return hauls


def texts(*hauls: Haul) -> list[str]:
    return [claim.command.text for haul in hauls for claim in haul.claims if isinstance(claim.command, SendMessage)]


def problems(haul: Haul) -> list[str]:
    return [str(claim.command) for claim in haul.claims if isinstance(claim.command, MailboxError)] + haul.refusals


def left_over(box: Path) -> list[str]:
    return [path.name for inbox in (*files.INBOXES, files.CLAIMED) for path in (box / inbox).iterdir()]


def answer(box: Path, name: str) -> dict[str, object]:
    return json.loads((box / "results" / name).read_bytes())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


# What the host makes


def test_a_prepared_mailbox_lets_the_agent_write_its_inboxes_and_nothing_else(box: Path):
    assert {path.name: mode(path) for path in box.iterdir()} == {
        "messages": 0o755,
        "tasks": 0o755,
        "results": 0o755,
        "claimed": 0o700,
        "refused": 0o700,
    }
    owners = {path.name: path.stat().st_uid for path in box.iterdir()}
    agent = 1000 if os.geteuid() == 0 else os.geteuid()
    assert (owners["messages"], owners["tasks"]) == (agent, agent)
    assert {owners["results"], owners["claimed"], owners["refused"]} == {os.geteuid()}


def test_preparing_again_keeps_what_lies_there_and_puts_modes_right(box: Path):
    (box / "messages" / "a.json").write_bytes(message("still here"))
    (box / "messages").chmod(0o000)
    (box / "results").chmod(0o777)
    files.prepare(box.parent, FAMILY)
    assert (mode(box / "messages"), mode(box / "results")) == (0o755, 0o755)
    assert texts(look(box)) == ["still here"]


@pytest.mark.parametrize("name", ["messages", "tasks", "results", "claimed", "refused"])
def test_a_link_in_the_place_of_a_directory_is_neither_followed_nor_changed(box: Path, tmp_path: Path, name: str):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o710)
    (elsewhere / "x.json").write_bytes(message("not yours"))
    (box / name).rmdir()
    (box / name).symlink_to(elsewhere)
    with pytest.raises(OSError, match=r"symbolic link|Not a directory"):
        files.prepare(box.parent, FAMILY)
    with pytest.raises(OSError, match=r"symbolic link|Not a directory"):
        look(box)
    assert mode(elsewhere) == 0o710
    assert [path.name for path in elsewhere.iterdir()] == ["x.json"]


@pytest.mark.parametrize("folder", ["", ".", "..", "../other", "a/b", ".hidden"])
def test_a_folder_that_would_leave_the_root_is_refused(tmp_path: Path, folder: str):
    with pytest.raises(NotADirectoryError):
        files.prepare(tmp_path / "ipc", Folder(folder))


# What is taken


def test_files_of_both_inboxes_are_claimed_read_answered_and_gone(box: Path):
    (box / "messages" / "a.json").write_bytes(message("one"))
    (box / "tasks" / "b.json").write_bytes(message("two"))
    assert sorted(texts(look(box))) == ["one", "two"]
    assert (answer(box, "a.json"), answer(box, "b.json")) == ({"ok": True}, {"ok": True})
    assert mode(box / "results" / "a.json") == 0o644
    assert left_over(box) == []


def test_the_oldest_arrival_is_first_whatever_times_and_names_say(box: Path):
    for name in ("z.json", "m.json", "a.json"):
        temporary = box / "messages" / f".{name}"
        temporary.write_bytes(message(name))
        os.utime(temporary, (ord(name[0]), ord(name[0])))
        temporary.rename(box / "messages" / name)
        _let_the_clock_of_the_file_system_tick(box)
    assert texts(look(box)) == ["z.json", "m.json", "a.json"]


def _let_the_clock_of_the_file_system_tick(box: Path) -> None:
    probe = box / "probe"
    probe.touch()
    first = probe.stat().st_mtime_ns
    while probe.stat().st_mtime_ns == first:
        probe.touch()
    probe.unlink()


def test_a_name_that_is_used_again_is_another_command(box: Path):
    ids: list[str] = []
    for _ in range(3):
        (box / "messages" / "same.json").write_bytes(message("again"))
        ids += [claim.id for claim in look(box).claims]
    assert len(set(ids)) == 3


def test_a_claimed_file_that_was_not_finished_comes_again_under_the_same_id(box: Path):
    (box / "messages" / "a.json").write_bytes(message("once"))
    with files.opened(box.parent, FAMILY) as opened:
        first = files.collect(opened, 0.0, patient=False)
    (box / "messages" / "a.json").write_bytes(message("another"))
    second = look(box)
    assert [claim.id for claim in first.claims] == [second.claims[0].id]
    assert texts(second) == ["once", "another"]
    assert left_over(box) == []


def test_finishing_twice_changes_nothing(box: Path):
    (box / "messages" / "a.json").write_bytes(message("once"))
    with files.opened(box.parent, FAMILY) as opened:
        (claim,) = files.collect(opened, 0.0, patient=False).claims
        files.finish(opened, claim, b"{}", refused=False)
        files.finish(opened, claim, b"{}", refused=True)
    assert left_over(box) == []


# What is left alone for a while


def entry(name: str, age: float, kind: int = stat.S_IFREG) -> Entry:
    status = os.stat_result((kind | 0o644, 1, 1, 1, 0, 0, 0, 0, 0, 10_000 - int(age)))
    return Entry(name, status)


@pytest.mark.parametrize(
    ("name", "age", "patient", "flooded", "fate"),
    [
        ("a.json", 0, True, False, "claim"),
        (".a.json", 599, True, False, "leave"),
        (".a.json", 599, False, False, "leave"),
        (".a.json", 601, True, False, "remove"),
        (".a.json", 0, True, True, "remove"),
        ("a.json.tmp", 9, True, False, "leave"),
        ("a.json.tmp.17.99", 9, True, False, "leave"),
        ("a.json.tmp", 11, True, False, "refuse"),
        ("a.json.tmp", 0, False, False, "refuse"),
        ("a.json.tmp", 0, True, True, "refuse"),
        ("a.json.tmp", -3600, True, False, "refuse"),
        ("a b.json", 0, True, False, "refuse"),
    ],
)
def test_what_may_be_temporary_is_left_until_it_cannot_be(
    name: str, age: float, patient: bool, flooded: bool, fate: str
):
    assert files.judge(entry(name, age), 10_000, patient=patient, flooded=flooded) == fate


def test_a_half_written_file_is_read_again_until_it_is_whole(box: Path):
    with (box / "messages" / "a.json").open("wb", buffering=0) as file:
        file.write(b'{"type": "message", ')
        assert texts(look(box, patient=True)) == []
        file.write(b'"text": "whole"}\n')
    assert texts(look(box, patient=True)) == ["whole"]


def test_a_half_written_file_is_refused_once_nobody_writes_it_any_more(box: Path):
    (box / "messages" / "a.json").write_bytes(b'{"type": ')
    assert look(box, patient=True).handled == 0
    claimed = next((box / "claimed").iterdir()).stat().st_ctime
    assert look(box, patient=True, now=claimed + 1.9).handled == 0
    assert "not JSON" in problems(look(box, patient=True, now=claimed + 2.1))[0]


# What is hostile


def symlink_to_a_command(box: Path, name: str) -> None:
    secret = box.parent / "secret.json"
    secret.write_bytes(message("SECRET"))
    (box / "messages" / name).symlink_to(secret)


def dangling_link(box: Path, name: str) -> None:
    (box / "messages" / name).symlink_to("/nowhere/at/all")


def link_to_itself(box: Path, name: str) -> None:
    (box / "messages" / name).symlink_to(name)


def link_to_an_endless_device(box: Path, name: str) -> None:
    (box / "messages" / name).symlink_to("/dev/zero")


def pipe(box: Path, name: str) -> None:
    os.mkfifo(box / "messages" / name)


def unix_socket(box: Path, name: str) -> None:
    here = Path.cwd()
    os.chdir(box / "messages")  # a socket's path must be short
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(name)
    finally:
        os.chdir(here)


def directory(box: Path, name: str) -> None:
    (box / "messages" / name).mkdir()
    (box / "messages" / name / "inside.json").write_bytes(message("SECRET"))
    (box / "messages" / name / "locked").mkdir(mode=0o000)


def locked_directory(box: Path, name: str) -> None:
    directory(box, name)
    (box / "messages" / name).chmod(0o000)


THINGS: list[Callable[[Path, str], None]] = [
    symlink_to_a_command,
    dangling_link,
    link_to_itself,
    link_to_an_endless_device,
    pipe,
    unix_socket,
    directory,
    locked_directory,
]


@pytest.mark.parametrize("put", THINGS, ids=[put.__name__ for put in THINGS])
def test_what_is_no_regular_file_is_refused_deleted_and_never_opened(box: Path, put: Callable[[Path, str], None]):
    put(box, "x.json")
    hauls = look_until_done(box)
    assert sum(len(haul.refusals) for haul in hauls) == 1
    assert all(haul.claims == [] for haul in hauls)
    assert "write a regular file" in (box / "results" / "x.json").read_text()
    assert left_over(box) == []
    assert list((box / "refused").iterdir()) == []


def test_what_a_link_points_to_stays_as_it_was(box: Path):
    symlink_to_a_command(box, "x.json")
    look(box)
    assert (box.parent / "secret.json").read_bytes() == message("SECRET")


def test_hard_links_are_refused_and_not_kept(box: Path):
    (box / "messages" / "a.json").write_bytes(message("twice"))
    os.link(box / "messages" / "a.json", box / "messages" / "b.json")
    haul = look(box)
    assert problems(haul)[0] == "it has 2 hard links; write a file of its own"
    assert left_over(box) == []


def test_a_hard_link_to_a_hidden_name_is_refused(box: Path):
    (box / "messages" / ".a").write_bytes(message("twice"))
    os.link(box / "messages" / ".a", box / "messages" / "b.json")
    assert "hard links" in problems(look(box))[0]
    assert list((box / "refused").iterdir()) == []


def test_a_terabyte_is_refused_unread_and_deleted(box: Path):
    with (box / "messages" / "x.json").open("wb") as file:
        file.truncate(1 << 40)
    assert problems(look(box)) == ["it is larger than 1024 KiB; write less"]
    assert left_over(box) == []
    assert list((box / "refused").iterdir()) == []


def test_what_is_too_large_goes_even_when_there_is_no_room_for_an_answer(box: Path):
    (box / "results" / "x.json").mkdir()
    with (box / "messages" / "x.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(IsADirectoryError):
        look(box)
    assert left_over(box) == []


def test_a_file_of_the_largest_size_is_read_and_one_byte_more_is_not(box: Path):
    (box / "messages" / "a.json").write_bytes(message("fits").ljust(files.MAX_FILE_BYTES))
    (box / "messages" / "b.json").write_bytes(message("too long").ljust(files.MAX_FILE_BYTES + 1))
    hauls = look_until_done(box)
    assert texts(*hauls) == ["fits"]
    assert "larger than 1024 KiB" in answer_of_refusal(hauls)


def answer_of_refusal(hauls: list[Haul]) -> str:
    return "\n".join(problem for haul in hauls for problem in problems(haul))


def test_a_file_that_says_something_wrong_is_kept_for_inspection_as_it_was(box: Path):
    (box / "messages" / "x.json").write_bytes(b'{"type": "massage"}')
    look(box)
    (kept,) = (box / "refused").iterdir()
    assert kept.name.endswith("-messages-x.json")
    assert kept.read_bytes() == b'{"type": "massage"}'


@pytest.mark.parametrize(
    "name",
    ["two\nlines.json", "message.txt", "a b.json", "-x.json", "ü.json", "x" * 200 + ".json", "a.json ", "_.json"],
)
def test_a_file_with_an_odd_name_is_refused_kept_and_answered_under_a_plain_name(box: Path, name: str):
    (box / "messages" / name).write_bytes(message("odd"))
    haul = look(box)
    assert haul.claims == []
    (answered,) = (box / "results").iterdir()
    assert answered.name.isascii()
    assert answered.name.isprintable()
    assert "name must begin" in answered.read_text()
    (kept,) = (box / "refused").iterdir()
    assert kept.read_bytes() == message("odd")
    assert left_over(box) == []


def test_a_name_that_is_not_utf8_is_answered_too(box: Path):
    Path(os.fsdecode(os.fsencode(box / "messages") + b"/\xff\xfe.json")).write_bytes(message("odd"))
    assert len(look(box).refusals) == 1
    assert [path.name for path in (box / "results").iterdir()] == ["unnamed.json"]
    assert left_over(box) == []


def test_an_inbox_that_the_agent_has_locked_is_opened_again(box: Path):
    (box / "messages" / "a.json").write_bytes(message("hello"))
    (box / "messages").chmod(0o000)
    assert not files.is_empty(box.parent, FAMILY)
    assert texts(look(box)) == ["hello"]
    assert mode(box / "messages") == 0o755


def test_a_tree_of_any_depth_and_width_is_deleted_bit_by_bit(box: Path):
    parent = os.open(box / "messages", os.O_RDONLY)
    for name in ["deep.json"] + ["d"] * 1200:
        os.mkdir(name, dir_fd=parent)
        child = os.open(name, os.O_RDONLY, dir_fd=parent)
        os.close(parent)
        parent = child
    os.close(parent)
    wide = box / "messages" / "wide.json"
    wide.mkdir()
    for number in range(1200):
        (wide / str(number)).touch()
    hauls = look_until_done(box)
    assert sum(len(haul.refusals) for haul in hauls) == 2
    assert len(hauls) > 2
    assert left_over(box) == []


def test_a_directory_with_a_link_in_it_is_deleted_without_following(box: Path, tmp_path: Path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "photo").touch()
    directory(box, "x.json")
    (box / "messages" / "x.json" / "link").symlink_to(precious)
    look_until_done(box)
    assert left_over(box) == []
    assert (precious / "photo").exists()


# Floods


def test_one_look_handles_a_bounded_number_of_files_and_says_that_there_are_more(box: Path):
    for number in range(3 * files.FILES_AT_ONCE):
        (box / "messages" / f"{number}.json").write_bytes(message(str(number)))
    hauls = look_until_done(box)
    assert all(len(haul.claims) <= files.FILES_AT_ONCE for haul in hauls)
    assert sorted(texts(*hauls), key=int) == [str(number) for number in range(3 * files.FILES_AT_ONCE)]


def test_one_look_reads_a_bounded_number_of_bytes(box: Path):
    for number in range(6):
        (box / "messages" / f"{number}.json").write_bytes(message(str(number)).ljust(600_000))
    hauls = look_until_done(box)
    assert [len(haul.claims) for haul in hauls] == [2, 2, 2]


def test_a_flood_of_messages_does_not_hold_up_the_tasks_of_the_same_group(box: Path):
    for number in range(200):
        (box / "messages" / f"{number}.json").write_bytes(message(str(number)))
    (box / "tasks" / "t.json").write_bytes(message("task"))
    assert "task" in texts(look(box))
    assert list((box / "claimed").iterdir()) == []


def test_a_flood_of_temporary_files_does_not_hide_a_command_for_ever(box: Path):
    for number in range(1050):
        (box / "messages" / f".{number}").touch()
    (box / "messages" / "a.json").write_bytes(message("found"))
    assert texts(*look_until_done(box)) == ["found"]


def test_refused_files_are_kept_up_to_a_number_and_the_oldest_go_first(box: Path):
    for number in range(files.KEPT_REFUSED + 30):
        (box / "messages" / f"{number}.json").write_bytes(b"{}")
        if number % 20 == 19:
            look_until_done(box)
            _let_the_clock_of_the_file_system_tick(box)
    look_until_done(box)
    kept = {path.name.rsplit("-", 1)[1] for path in (box / "refused").iterdir()}
    assert len(kept) == files.KEPT_REFUSED
    assert "129.json" in kept
    assert "0.json" not in kept


def test_refused_files_are_kept_up_to_a_size(box: Path):
    for number in range(25):
        (box / "messages" / f"{number}.json").write_bytes(b" " * files.MAX_FILE_BYTES)
    look_until_done(box)
    sizes = [path.stat().st_size for path in (box / "refused").iterdir()]
    assert 0 < sum(sizes) <= files.KEPT_REFUSED_BYTES
    assert left_over(box) == []


def test_answers_are_kept_up_to_a_number(box: Path):
    for number in range(files.KEPT_RESULTS + 10):
        (box / "results" / f"old-{number}.json").touch()
    (box / "messages" / "new.json").write_bytes(message("hi"))
    look(box)
    assert len(list((box / "results").iterdir())) == files.KEPT_RESULTS
    assert (box / "results" / "new.json").exists()


# Races


def test_a_file_that_is_swapped_for_links_and_pipes_all_the_time_lets_nothing_in_or_out(box: Path):
    secret = box.parent / "secret.json"
    secret.write_bytes(message("SECRET"))
    stop = threading.Event()

    def swap() -> None:
        victim, other = box / "messages" / "x.json", box / "messages" / ".next"
        turn = 0
        while not stop.is_set():
            turn += 1
            kind = turn % 4
            if kind == 0:
                other.symlink_to(secret)
            elif kind == 1:
                os.mkfifo(other)
            elif kind == 2:
                other.write_bytes(message("harmless"))
            else:
                with suppress(FileExistsError):  # few names, or it would be a flood
                    victim.with_name(f"d{turn % 40}.json").mkdir()
                continue
            other.replace(victim)

    agent = threading.Thread(target=swap)
    agent.start()
    try:
        hauls = [look(box)]
        while len(hauls) < 100 or not (texts(*hauls) and any(haul.refusals for haul in hauls)):
            hauls.append(look(box))
    finally:
        stop.set()
        agent.join()
    hauls += look_until_done(box)
    assert set(texts(*hauls)) == {"harmless"}
    assert secret.read_bytes() == message("SECRET")
    assert left_over(box) == []
    assert all(path.is_file() and not path.is_symlink() for path in (box / "refused").iterdir())


def test_a_file_that_changes_while_it_is_read_is_a_command_or_a_refusal(box: Path):
    stop = threading.Event()

    def scribble() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            with (box / "messages" / f"{turn % 7}.json").open("wb", buffering=0) as file:
                file.write(message("half"))
                file.truncate(turn % 30)
                file.write(b"x" * (turn % 5000))

    agent = threading.Thread(target=scribble)
    agent.start()
    try:
        hauls = [look(box) for _ in range(200)]
    finally:
        stop.set()
        agent.join()
    hauls += look_until_done(box)
    assert sum(len(haul.claims) for haul in hauls) > 0
    assert set(texts(*hauls)) <= {"half"}
    assert left_over(box) == []


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(alphabet=st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=60))
def test_whatever_a_file_is_called_it_is_taken_refused_or_temporary(box: Path, name: str):
    if name in (".", ".."):
        return
    (box / "messages" / name).write_bytes(message("hi"))
    look_until_done(box)
    assert all(left.startswith(".") for left in left_over(box))
    assert all(path.name.isascii() for path in (box / "results").iterdir())


def test_writing_a_file_that_cannot_be_put_in_place_leaves_nothing_behind(tmp_path: Path):
    (tmp_path / "taken").mkdir()
    with handles.directory(tmp_path) as handle, pytest.raises(IsADirectoryError):
        handles.write_whole(handle, "taken", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
