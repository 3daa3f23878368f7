"""One contract for every kind of sandbox, tried from inside: with the real image and the real toolkit."""

import json
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from nanoclaw.config import Home, SandboxSettings, Settings, command_environment
from nanoclaw.errors import SandboxError, WireError
from nanoclaw.model import Folder, Jid, RegisteredGroup
from nanoclaw.sandbox import SANDBOXES, choose
from nanoclaw.sandbox.base import Health, Sandbox, SandboxProcess, SandboxSpec
from nanoclaw.sandbox.bubblewrap import BubblewrapSandbox
from nanoclaw.sandbox.cgroups import find_places
from nanoclaw.sandbox.engine import EngineSandbox
from nanoclaw.sandbox.mounts import agent_owner, group_mounts, prepare
from nanoclaw.sandbox.probe import PROBE_IMAGE
from nanoclaw.sandbox.process import command_lines, run_command

pytestmark = pytest.mark.anyio

LONGEST_LINE = 1 << 20
GROUP = RegisteredGroup(
    jid=Jid("local:family"), name="Family", folder=Folder("family"), trigger="@Andy", added_at="2026-01-31T12:00:00Z"
)
STUBBORN = ("sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done")

INSPECT = """
import ctypes, errno, glob, json, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)

def error(result):
    return errno.errorcode[ctypes.get_errno()] if result == -1 else None

def writable(path):
    try:
        with open(path + "/probe", "w"):
            return True
    except OSError:
        return False

def connects(family, address):
    try:
        with socket.socket(family) as client:
            client.connect(address)
            return True
    except OSError:
        return False

def opens(family):
    try:
        socket.socket(family, socket.SOCK_SEQPACKET if family == 38 else socket.SOCK_STREAM).close()
        return True
    except OSError:
        return False

def readable(path):
    try:
        with open(path, "rb") as file:
            return file.read(1) != b""
    except OSError:
        return False

def command_lines():
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        with open(path, "rb") as file:
            yield file.read().decode("utf-8", "replace")

port, abstract, hidden = int(sys.argv[1]), sys.argv[2], sys.argv[3]
with open("/proc/self/status") as file:
    status = {line.split(":")[0]: line.split(":")[1].strip() for line in file}
with open("/proc/net/dev") as file:
    interfaces = [line.split(":")[0].strip() for line in file if ":" in line]
places = ["/", "/usr", "/etc", "/home/node", "/tmp", "/run", "/dev/shm", "/workspace", "/run/nanoclaw"]
places += ["/workspace/" + name for name in ("group", "global", "ipc", "ipc/messages", "ipc/tasks", "media")]
places += ["/home/node/.claude", "/home/node/.codex"]
print(json.dumps({
    "status": status,
    "ids": [os.getuid(), os.getgid(), os.getgroups()],
    "cwd": os.getcwd(),
    "environment": dict(os.environ),
    "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd"))[:-1],
    "interfaces": interfaces,
    "writable": [place for place in places if writable(place)],
    "reaches": {
        "host": connects(socket.AF_INET, ("127.0.0.1", port)),
        "abstract": connects(socket.AF_UNIX, "\\0" + abstract),
        "internet": connects(socket.AF_INET, ("1.1.1.1", 53)),
    },
    "sockets": [family for family in (1, 2, 10, 16, 17, 38, 40) if opens(family)],
    "refused": {
        "unshare": error(libc.unshare(0x10000000)),
        "mount": error(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)),
        "ptrace": error(libc.ptrace(0, 0, 0, 0)),
        "setuid": error(libc.setuid(0)),
        "chroot": error(libc.chroot(b"/tmp")),
    },
    "readable": [path for path in ("/etc/shadow", "/proc/1/environ", hidden) if readable(path)],
    "processes": list(command_lines()),
}))
"""


@pytest.fixture(scope="module", params=["podman", "bubblewrap"])
def checked(request: pytest.FixtureRequest) -> tuple[Sandbox, Health]:
    sandbox = SANDBOXES[request.param](SandboxSettings())
    health = anyio.run(sandbox.check)
    assert health.ok, f"{health.reason}: {health.hint}"
    assert anyio.run(sandbox.is_built), "`make test` builds it"
    return sandbox, health


@pytest.fixture(scope="module")
def sandbox(checked: tuple[Sandbox, Health]) -> Sandbox:
    return checked[0]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    home = Home(tmp_path_factory.mktemp("home") / "nanoclaw")
    prepare(home, GROUP)
    yield home
    if not home.sockets.is_relative_to(home.root):
        shutil.rmtree(home.sockets)


@pytest.fixture
def spec(home: Home) -> SandboxSpec:
    return make_spec(home)


def make_spec(home: Home) -> SandboxSpec:
    installation = secrets.token_hex(6)
    return SandboxSpec(
        name=f"nanoclaw-{installation}-family-1-1-{secrets.token_hex(3)}",
        installation=installation,
        folder=GROUP.folder,
        mounts=group_mounts(home, GROUP),
        environment={"TZ": "Europe/Berlin", "ODD": "a b=$c 'd'"},
    )


def runs(spec: SandboxSpec, *command: str, **limits: int) -> SandboxSpec:
    return replace(spec, command=command, limits=replace(spec.limits, **limits))


def python(sandbox: Sandbox) -> str:
    """An interpreter inside."""
    if sandbox.name != "bubblewrap":
        return "python3"
    return str(Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}").resolve())


async def first_line(process: SandboxProcess) -> bytes:
    return await anext(aiter(process.lines(LONGEST_LINE)))


async def output(sandbox: Sandbox, spec: SandboxSpec) -> tuple[list[str], int]:
    """What it prints and its exit status, after it saw the end of its input."""
    async with sandbox.start(spec) as process:
        await process.close_stdin()
        lines = [line.decode() async for line in process.lines(LONGEST_LINE)]
        return lines, await process.wait()


@pytest.fixture(scope="module")
def facts(sandbox: Sandbox, home: Home, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a program inside finds out."""
    hidden = tmp_path_factory.mktemp("hidden") / "secret"
    hidden.write_text("of the host")
    abstract = f"nanoclaw-test-{secrets.token_hex(6)}"
    with (
        pytest.MonkeyPatch.context() as patch,
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as listener,
    ):
        patch.setenv("NANOCLAW_TEST_SECRET", "of the host")
        listener.bind(f"\0{abstract}")
        listener.listen()
        port = str(server.getsockname()[1])
        command = ("sh", "-c", 'exec "$@" 2>&1', "sh", python(sandbox), "-c", INSPECT, port, abstract, str(hidden))
        lines, status = anyio.run(output, sandbox, runs(make_spec(home), *command))
    assert status == 0, "\n".join(lines)
    return json.loads(lines[0])


def test_the_agent_is_node_without_any_privilege(facts: dict[str, Any]) -> None:
    assert facts["ids"] == [1000, 1000, [1000]] or facts["ids"] == [1000, 1000, []]
    capabilities = {name: int(facts["status"][name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    assert set(capabilities.values()) == {0}, capabilities
    assert (facts["status"]["NoNewPrivs"], facts["status"]["Seccomp"]) == ("1", "2")


def test_privileged_calls_are_refused(facts: dict[str, Any]) -> None:
    refused = dict(facts["refused"])
    # in a user namespace there is no root that one could become
    assert refused.pop("setuid") in {"EPERM", "EINVAL"}
    assert set(refused.values()) == {"EPERM"}


def test_there_is_no_network_but_its_own_loopback(facts: dict[str, Any]) -> None:
    assert facts["interfaces"] == ["lo"]
    assert facts["reaches"] == {"host": False, "abstract": False, "internet": False}


def test_only_local_and_internet_sockets_can_be_made(facts: dict[str, Any]) -> None:
    assert set(facts["sockets"]) <= {socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, 16}
    assert {socket.AF_UNIX, socket.AF_INET} <= set(facts["sockets"])


def test_it_writes_where_it_may_and_nowhere_else(facts: dict[str, Any]) -> None:
    assert facts["writable"] == [
        *("/tmp", "/dev/shm", "/workspace/group", "/workspace/ipc/messages", "/workspace/ipc/tasks"),
        *("/home/node/.claude", "/home/node/.codex"),
    ]


def test_nothing_of_the_hosts_environment_or_files_is_there(facts: dict[str, Any]) -> None:
    environment = facts["environment"]
    assert "of the host" not in environment.values()
    assert {name: environment[name] for name in ("TZ", "ODD", "HOME", "USER")} == {
        "TZ": "Europe/Berlin",
        "ODD": "a b=$c 'd'",
        "HOME": "/home/node",
        "USER": "node",
    }
    assert not [path for path in facts["readable"] if path == "/etc/shadow" or path.endswith("secret")]


def test_no_other_process_is_visible(facts: dict[str, Any]) -> None:
    ours = ("-m\0pytest", "/bin/pytest")  # how this very process was started
    assert not [line for line in facts["processes"] if any(sign in line for sign in ours)]
    assert len(facts["processes"]) <= 3


def test_it_starts_in_the_groups_directory_with_three_descriptors(facts: dict[str, Any]) -> None:
    assert (facts["cwd"], facts["descriptors"]) == ("/workspace/group", [0, 1, 2])


async def test_what_the_agent_writes_is_on_the_host_and_the_agents(
    sandbox: Sandbox, spec: SandboxSpec, home: Home
) -> None:
    name = f"{secrets.token_hex(4)}.json"
    command = f"cd /workspace/ipc/messages && echo hi > .tmp && mv .tmp {name} && cat {name}"
    assert await output(sandbox, runs(spec, "sh", "-c", command)) == (["hi"], 0)
    file = home.mailboxes / "family" / "messages" / name
    assert (file.read_text(), file.stat().st_uid) == ("hi\n", agent_owner()[0])


async def test_lines_go_both_ways_unchanged(sandbox: Sandbox, spec: SandboxSpec) -> None:
    sent = ["plain", "", "Grüße 🙂", "x" * 300_000, ' {"json": true} ']
    async with sandbox.start(runs(spec, "cat")) as process:
        for line in sent:
            await process.send_line(line.encode())
        await process.close_stdin()
        assert [line.decode() async for line in process.lines(LONGEST_LINE)] == sent


async def test_megabytes_arrive_whole_and_in_order(sandbox: Sandbox, spec: SandboxSpec) -> None:
    program = "for number in range(200_000): print(number, 'x' * 90)"
    lines, status = await output(sandbox, runs(spec, python(sandbox), "-c", program))
    assert [int(line.split()[0]) for line in lines] == list(range(200_000))
    assert status == 0


async def test_a_flood_on_stderr_stops_nobody_and_its_end_is_kept(sandbox: Sandbox, spec: SandboxSpec) -> None:
    command = "yes noise | head -c 3000000 >&2; echo the last words >&2; echo done"
    async with sandbox.start(runs(spec, "sh", "-c", command)) as process:
        assert [line async for line in process.lines(LONGEST_LINE)] == [b"done"]
        assert await process.wait() == 0
    assert process.stderr_tail().endswith("the last words\n")
    assert len(process.stderr_tail()) == 64 << 10


async def test_the_end_of_its_input_is_seen(sandbox: Sandbox, spec: SandboxSpec) -> None:
    async with sandbox.start(runs(spec, "sh", "-c", "echo up; cat > /dev/null; echo over")) as process:
        lines = process.lines(LONGEST_LINE)
        assert await anext(aiter(lines)) == b"up"
        await process.close_stdin()
        assert [line async for line in lines] == [b"over"]


@pytest.mark.parametrize(("command", "status"), [("exit 7", 7), ("sh -c 'kill -9 $$'", 137)])
async def test_the_exit_status_is_the_commands(sandbox: Sandbox, spec: SandboxSpec, command: str, status: int) -> None:
    assert await output(sandbox, runs(spec, "sh", "-c", command)) == ([], status)


async def test_a_line_that_is_too_long_is_an_error(sandbox: Sandbox, spec: SandboxSpec) -> None:
    command = "head -c 5000 /dev/zero | tr '\\0' x; cat"
    async with sandbox.start(runs(spec, "sh", "-c", command)) as process:
        with pytest.raises(WireError, match="longer than 4096 bytes"):
            await first_line_within(process, 4096)


async def first_line_within(process: SandboxProcess, limit: int) -> bytes:
    return await anext(aiter(process.lines(limit)))


async def test_a_command_that_is_not_there_is_a_sandbox_that_did_not_start(sandbox: Sandbox, spec: SandboxSpec) -> None:
    with pytest.raises(SandboxError, match="no-such-program"):
        await output(sandbox, runs(spec, "no-such-program"))


async def test_sending_to_a_sandbox_that_is_gone_is_an_error(sandbox: Sandbox, spec: SandboxSpec) -> None:
    async with sandbox.start(runs(spec, "true")) as process:
        await process.wait()
        with pytest.raises(SandboxError):
            await process.send_line(b"hello?")


async def test_leaving_ends_a_command_that_ignores_it(sandbox: Sandbox, spec: SandboxSpec) -> None:
    async with sandbox.start(runs(spec, *STUBBORN)) as process:
        assert await first_line(process) == b"up"
    assert await sandbox.sweep(spec.installation) == []


async def test_cancelling_ends_a_command_that_ignores_it(sandbox: Sandbox, spec: SandboxSpec) -> None:
    with anyio.CancelScope() as scope:
        async with sandbox.start(runs(spec, *STUBBORN)) as process:
            async for _ in process.lines(LONGEST_LINE):
                scope.cancel()
    assert scope.cancelled_caught
    assert await sandbox.sweep(spec.installation) == []


async def test_cancelling_in_the_middle_of_a_start_leaves_nothing(sandbox: Sandbox, spec: SandboxSpec) -> None:
    with anyio.CancelScope() as scope:
        async with sandbox.start(runs(spec, "cat")):
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    assert await sandbox.sweep(spec.installation) == []


async def test_a_failure_of_the_caller_passes_unchanged(sandbox: Sandbox, spec: SandboxSpec) -> None:
    with pytest.raises(ZeroDivisionError):
        async with sandbox.start(runs(spec, "cat")):
            raise ZeroDivisionError


async def test_a_sweep_ends_this_installations_sandboxes_and_leaves_others(sandbox: Sandbox, home: Home) -> None:
    ours, theirs = make_spec(home), make_spec(home)
    async with sandbox.start(runs(ours, "cat")) as mine, sandbox.start(runs(theirs, "cat")) as other:
        for process in (mine, other):
            await process.send_line(b"up")
            assert await first_line(process) == b"up"
        assert await sandbox.sweep(ours.installation) == [ours.name]
        assert await mine.wait() == 137
        assert await sandbox.sweep(ours.installation) == []
        await other.send_line(b"still here")
        assert await first_line(other) == b"still here"


async def test_memory_is_limited_or_the_lack_is_named(checked: tuple[Sandbox, Health], spec: SandboxSpec) -> None:
    sandbox, health = checked
    greedy = runs(spec, python(sandbox), "-c", "bytearray(256 << 20)", memory_bytes=96 << 20)
    _, status = await output(sandbox, greedy)
    assert status == 137 or "memory" in str(health.lacks) or "Resource limits" in str(health.lacks)


async def test_processes_are_limited_or_the_lack_is_named(checked: tuple[Sandbox, Health], spec: SandboxSpec) -> None:
    sandbox, health = checked
    program = """
import os, signal
children = []
try:
    while len(children) < 100 and (child := os.fork()):
        children.append(child)
except OSError:
    pass
if len(children) == 100 or child:
    print(len(children))
else:
    signal.pause()
"""
    lines, _ = await output(sandbox, runs(spec, python(sandbox), "-c", program, pids=40))
    assert int(lines[0]) < 40 or "processes" in str(health.lacks) or "Resource limits" in str(health.lacks)


async def test_temporary_space_is_limited(sandbox: Sandbox, spec: SandboxSpec) -> None:
    command = "head -c 3000000 /dev/zero > /tmp/big || echo full"
    assert await output(sandbox, runs(spec, "sh", "-c", command, tmp_bytes=1 << 20)) == (["full"], 0)


HOST = """
import anyio, os, sys
from nanoclaw.config import SandboxSettings
from nanoclaw.model import Folder
from nanoclaw.sandbox.base import SandboxSpec
from nanoclaw.sandbox.bubblewrap import BubblewrapSandbox

async def main():
    command = ("sh", "-c", "echo up; while :; do sleep 1; done")
    spec = SandboxSpec(name=sys.argv[1], installation=sys.argv[1], folder=Folder("f"), mounts=(), command=command)
    async with BubblewrapSandbox(SandboxSettings()).start(spec) as process:
        async for line in process.lines(100):
            print(line.decode(), flush=True)

anyio.run(main)
"""


def test_bubblewrap_dies_with_its_host() -> None:
    installation = secrets.token_hex(6)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        (sys.executable, "-c", HOST, installation), env=environment, stdout=subprocess.PIPE, stdin=subprocess.PIPE
    ) as host:
        assert host.stdout is not None
        assert host.stdout.readline() == b"up\n"
        inside = [os.pidfd_open(pid) for pid in processes_of(installation)]
        host.send_signal(signal.SIGKILL)
        for descriptor in inside:
            ended = select.poll()
            ended.register(descriptor, select.POLLIN)
            assert ended.poll(20_000), "outlived its host"
            os.close(descriptor)
    assert len(inside) >= 3
    anyio.run(BubblewrapSandbox(SandboxSettings()).sweep, installation)
    assert not [name for place in find_places() for name in place.directory.iterdir() if installation in name.name]


def processes_of(installation: str) -> list[int]:
    found: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"NANOCLAW_INSTALLATION={installation}".encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


async def test_an_image_that_is_missing_is_told_with_its_cure(home: Home, spec: SandboxSpec) -> None:
    sandbox = EngineSandbox("podman", SandboxSettings(image="localhost/nanoclaw-test-nowhere:1"))
    assert (await sandbox.check()).ok
    assert not await sandbox.is_built()
    with pytest.raises(SandboxError, match="does not have the image") as caught:
        await output(sandbox, runs(spec, "true"))
    assert "nanoclaw image build" in caught.value.hint


async def test_a_container_that_never_ran_is_swept_too() -> None:
    sandbox = EngineSandbox("podman", SandboxSettings())
    assert (await sandbox.check()).ok
    names: dict[str, str] = {secrets.token_hex(6): f"nanoclaw-test-{secrets.token_hex(6)}" for _ in range(2)}
    for installation, name in names.items():
        label = f"nanoclaw.installation={installation}"
        create = ("podman", "create", "--network", "none", "--name", name, "--label", label, PROBE_IMAGE, "/true")
        assert (await run_command(create, command_environment(), 20)).returncode == 0
    for installation, name in names.items():
        assert await sandbox.sweep(installation) == [name]
        assert await sandbox.sweep(installation) == []


async def test_a_runtime_that_does_not_work_is_told_by_the_check() -> None:
    health = await EngineSandbox("podman", SandboxSettings(runtime="/nowhere/runtime")).check()
    assert not health.ok
    assert "/nowhere/runtime" in health.reason


async def test_a_container_engine_is_preferred() -> None:
    sandbox, health = await choose(Settings())
    assert sandbox.name in {"podman", "docker"}
    assert not health.reason


async def test_bubblewrap_says_what_it_lacks() -> None:
    _, health = await choose(Settings(sandbox=SandboxSettings(engine="bubblewrap")))
    assert "an image of its own" in str(health.lacks)


PATH = {"PATH": os.defpath}


async def test_a_command_that_is_not_done_in_time_is_ended_with_its_children(tmp_path: Path) -> None:
    command = f"trap '' TERM; sleep 600 & echo $! > {tmp_path}/child; echo waiting >&2; wait"
    with pytest.raises(SandboxError, match="was not done after 1 s") as caught:
        await run_command(("sh", "-c", command), PATH, 1)
    assert caught.value.hint == "waiting"
    assert not is_running(int((tmp_path / "child").read_text()))


def is_running(pid: int) -> bool:
    """Whether it is more than a dead entry that nobody has collected."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


async def test_a_command_gets_its_input_and_gives_all_it_says() -> None:
    done = await run_command(("sh", "-c", "cat; echo wrong >&2; exit 3"), PATH, 20, b"given")
    assert (done.returncode, done.stdout, done.stderr) == (3, "given", "wrong\n")


async def test_a_program_that_is_not_there_is_told() -> None:
    with pytest.raises(SandboxError, match="/nowhere/program cannot be run: No such file"):
        await run_command(("/nowhere/program",), PATH, 20)


async def test_a_long_command_is_heard_line_by_line_and_its_failure_ends_it() -> None:
    lines = command_lines(("sh", "-c", "echo one; echo two >&2; exit 5"), PATH, 20)
    assert [await anext(lines), await anext(lines)] == ["one", "two"]
    with pytest.raises(SandboxError, match="failed with status 5") as caught:
        await anext(lines)
    assert caught.value.hint == "two"
