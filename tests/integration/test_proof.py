"""The proof at every start, in real sandboxes: it holds as they are made, and fails when one defence is taken away."""

import json
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import pytest

from nanoclaw.config import Home, SandboxSettings, command_environment
from nanoclaw.model import Folder, Jid, RegisteredGroup
from nanoclaw.sandbox.base import Limits, Mount, SandboxSpec, Traits
from nanoclaw.sandbox.bubblewrap import BubblewrapSandbox
from nanoclaw.sandbox.bubblewrap_commands import FILES, Tools, bubblewrap_arguments, fixtures
from nanoclaw.sandbox.engine import EngineSandbox
from nanoclaw.sandbox.engine_commands import run_arguments, traits
from nanoclaw.sandbox.image import find_image
from nanoclaw.sandbox.mounts import group_mounts, prepare
from nanoclaw.sandbox.payload import ENVIRONMENT, RUNNER_COMMAND, runner_files, write_files
from nanoclaw.sandbox.process import open_process
from nanoclaw.sandbox.proof import Verdict, ask, judge
from nanoclaw.sandbox.seccomp import bpf_filter
from nanoclaw.sandbox.toolkit import find_toolkit

pytestmark = pytest.mark.anyio

AS_ROOT = os.geteuid() == 0
MEMORY, TMP = str(Limits().memory_bytes), str(Limits().tmp_bytes)
LONGEST_LINE = 1 << 20
GROUP = RegisteredGroup(
    jid=Jid("local:family"), name="Family", folder=Folder("family"), trigger="@Andy", added_at="2026-01-31T12:00:00Z"
)
RUNC = "runc" if shutil.which("runc") else ""
TOOLS = Tools(**{name: shutil.which(name) or "" for name in ("bwrap", "prlimit", "setpriv")})
PYTHON = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}").resolve()
ORDINARY = 4711
"""Somebody who has no other files."""

Argv = list[str]
Change = Callable[[Argv], Argv]


def without(*part: str) -> Change:
    """A command line without this part."""

    def change(argv: Argv) -> Argv:
        start = next(at for at in range(len(argv)) if tuple(argv[at : at + len(part)]) == part)
        return argv[:start] + argv[start + len(part) :]

    return change


def instead(old: Sequence[str], new: Sequence[str]) -> Change:
    """A command line with something else in this part's place."""

    def change(argv: Argv) -> Argv:
        start = next(at for at in range(len(argv)) if argv[at : at + len(old)] == list(old))
        return argv[:start] + list(new) + argv[start + len(old) :]

    return change


def also(before: str, *part: str) -> Change:
    """A command line with something more, before its last `before`."""

    def change(argv: Argv) -> Argv:
        start = len(argv) - argv[::-1].index(before) - 1
        return argv[:start] + list(part) + argv[start:]

    return change


def without_options(argv: Argv, *names: str) -> Argv:
    """A command line without these options and their values."""
    return [part for at, part in enumerate(argv) if part not in names and (at == 0 or argv[at - 1] not in names)]


def unchanged(argv: Argv) -> Argv:
    return argv


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    home = Home(tmp_path_factory.mktemp("home") / "nanoclaw")
    prepare(home, GROUP)
    home.env.write_text("OPENAI_API_KEY=sk-of-the-host\n")
    yield home
    if not home.sockets.is_relative_to(home.root):
        shutil.rmtree(home.sockets)


def spec_of(home: Home, group: RegisteredGroup = GROUP) -> SandboxSpec:
    return SandboxSpec(
        name=f"nanoclaw-proof-{secrets.token_hex(6)}",
        installation="proof",
        folder=group.folder,
        mounts=group_mounts(home, group),
        canary=secrets.token_hex(16),
    )


async def proven(argv: Argv, environment: dict[str, str], fds: Sequence[int], home: Home, asked: "Asked") -> Verdict:
    """What a runner that is started so proves of its sandbox."""
    async with open_process(argv, environment, pass_fds=fds) as process:
        request = ask(home, asked.traits, asked.spec)
        await process.send_line(json.dumps(request).encode())
        line = await anext(aiter(process.lines(LONGEST_LINE)), None)
        assert line is not None, process.stderr_tail()
        return judge(line, asked.traits)


@dataclass(frozen=True)
class Asked:
    spec: SandboxSpec
    traits: Traits


# podman


async def in_podman(home: Home, change: Change = unchanged, spec: SandboxSpec | None = None) -> Verdict:
    spec = spec or spec_of(home)
    image = await find_image("podman")
    assert image, "`make test` builds it"
    argv = [part.replace("{canary}", spec.canary) for part in change(run_arguments("podman", spec, image, RUNC))]
    environment = command_environment() | {"NANOCLAW_CANARY": spec.canary}
    return await proven(argv, environment, (), home, Asked(spec, traits("podman", RUNC)))


def unfiltered(argv: Argv) -> Argv:
    return [part if "seccomp=" not in part else "seccomp=unconfined" for part in argv]


async def test_podman_holds(home: Home) -> None:
    verdict = await in_podman(home)
    assert (verdict.failed, verdict.lacks, verdict.problem) == ({}, (), "")


PODMAN: dict[str, tuple[Change, set[str]]] = {
    "the host's network": (instead(["--network", "none"], ["--network", "host"]), {"network", "namespaces"}),
    "a writable root": (instead(["--read-only"], ["--tmpfs", "/workspace/extra:mode=1777"]), {"mounts", "read-only"}),
    "capabilities": (without("--cap-drop", "ALL"), {"capabilities"}),
    "no filter": (
        unfiltered,
        {"filter", "tracing", "kernel", "namespaces"},
    ),
    "root inside": (instead(["--user", "1000:1000"], ["--user", "0:0"]), {"user"}),
    "new privileges": (without("--security-opt", "no-new-privileges"), {"new-privileges"}),
    "the host's processes": (also("--workdir", "--pid", "host"), {"processes", "namespaces"}),
    "a device": (also("--workdir", "--device", "/dev/fuse"), {"devices"}),
    "core dumps and no limit on files": (
        lambda argv: [part.replace("core=0:0", "core=4096:4096") for part in argv],
        {"limits"},
    ),
    "more memory": (lambda argv: [part.replace(MEMORY, str(4 << 30)) for part in argv], {"limits"}),
    "memory without end": (lambda argv: without_options(argv, "--memory", "--memory-swap"), {"limits"}),
    "processes without end": (lambda argv: without_options(argv, "--pids-limit"), {"limits"}),
    "more descriptors": (
        lambda argv: ["nofile=9000:9000" if part.startswith("nofile=") else part for part in argv],
        {"limits"},
    ),
    "a larger /tmp": (lambda argv: [part.replace(TMP, str(1 << 30)) for part in argv], {"limits"}),
    "the host's environment": (also("--workdir", "--env", "LEAK={canary}"), {"secrets"}),
    "privileged": (
        lambda argv: also("--workdir", "--privileged", "--cap-add", "ALL", "--user", "0:0")(unfiltered(argv)),
        {"user", "capabilities", "mounting", "devices", "settings", "filter"},
    ),
}


@pytest.mark.parametrize("name", PODMAN)
async def test_podman_fails_with_a_defence_less(home: Home, name: str) -> None:
    change, expected = PODMAN[name]
    assert expected <= set((await in_podman(home, change)).failed)


# bubblewrap


@pytest.fixture(scope="module")
def toolkit() -> None:
    async def build() -> None:
        async for _ in BubblewrapSandbox(SandboxSettings()).build():  # the runner as it is now
            pass

    anyio.run(build)


def in_memory(files: ExitStack, content: bytes) -> int:
    fd = os.memfd_create("test")
    files.callback(os.close, fd)
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


async def in_bubblewrap(
    home: Home,
    change: Change = unchanged,
    spec: SandboxSpec | None = None,
    programs: Sequence[Mount] | None = None,
    prefix: Sequence[str] = (),
    extra_fds: Sequence[int] = (),
) -> Verdict:
    spec = spec or spec_of(home)
    if programs is None:
        found = find_toolkit()
        assert found
        programs = found.binds
    with ExitStack() as files:
        seccomp = in_memory(files, bpf_filter(os.uname().machine))
        contents = {path: in_memory(files, text.encode()) for path, text in FILES.items()}
        argv = bubblewrap_arguments(
            spec, TOOLS, programs, RUNNER_COMMAND, as_root=AS_ROOT and not prefix, seccomp_fd=seccomp, file_fds=contents
        )
        argv = [part.replace("{seccomp}", str(seccomp)) for part in change(argv)]
        known = Traits(fixtures=(*fixtures(), *(mount.target for mount in programs)))
        fds = (seccomp, *contents.values(), *extra_fds)
        return await proven([*prefix, *argv], dict(ENVIRONMENT), fds, home, Asked(spec, known))


def no_filter(argv: Argv) -> Argv:
    at = argv.index("--seccomp")
    return argv[:at] + argv[at + 2 :]


def all_power(argv: Argv) -> Argv:
    """Root that was not given up, where the host is root; else root of a user namespace."""
    argv = no_filter(argv)
    if not AS_ROOT:
        return also("--", "--cap-add", "ALL")(instead(["--uid", "1000"], ["--uid", "0"])(argv))
    at = argv.index(TOOLS.setpriv)
    return [*argv[: argv.index("--")], "--cap-add", "ALL", *argv[argv.index("--") : at], *RUNNER_COMMAND]


BUBBLEWRAP: dict[str, tuple[Change, set[str]]] = {
    "the host's network": (without("--unshare-net"), {"network", "namespaces"}),
    "the host's processes": (
        without("--unshare-pid", *(() if AS_ROOT else ("--as-pid-1",))),
        {"processes", "namespaces"},
    ),
    "no filter": (no_filter, {"filter", "tracing", "kernel", "namespaces"}),
    "a place that can be written": (also("--chdir", "--perms", "1777", "--tmpfs", "/opt/agent"), {"read-only"}),
    "root": (all_power, {"user", "capabilities", "mounting", "filter"}),
    "the host's devices": (also("--chdir", "--dev-bind", "/dev", "/dev"), {"devices"}),
    "the host's kernel settings": (also("--chdir", "--ro-bind", "/usr", "/proc/acpi"), {"settings"}),
    "core dumps": (without("--core=0:0"), {"limits"}),
    "files without end": (lambda argv: [part for part in argv if not part.startswith("--fsize")], {"limits"}),
    "more descriptors": (lambda argv: [part for part in argv if not part.startswith("--nofile")], {"limits"}),
    "a larger /tmp": (lambda argv: [str(1 << 30) if part == TMP else part for part in argv], {"limits"}),
}


@pytest.mark.usefixtures("toolkit")
async def test_bubblewrap_holds(home: Home) -> None:
    verdict = await in_bubblewrap(home)
    assert (verdict.failed, verdict.lacks, verdict.problem) == ({}, (), "")


@pytest.mark.usefixtures("toolkit")
@pytest.mark.parametrize("name", BUBBLEWRAP)
async def test_bubblewrap_fails_with_a_defence_less(home: Home, name: str) -> None:
    change, expected = BUBBLEWRAP[name]
    assert expected <= set((await in_bubblewrap(home, change)).failed)


@pytest.mark.usefixtures("toolkit")
async def test_the_hosts_own_place_is_noticed(home: Home, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)  # noqa: ASYNC240  # nothing else waits
    (tmp_path / home.env.name).touch()
    way = [part for parent in reversed(home.root.parents[:-1]) for part in ("--perms", "0755", "--dir", str(parent))]
    failed = (await in_bubblewrap(home, also("--chdir", *way, "--ro-bind", str(tmp_path), str(home.root)))).failed
    assert str(home.env) in failed["host-files"]
    assert f"{home.root} is mounted" in failed["mounts"]


@pytest.mark.usefixtures("toolkit")
async def test_another_directory_in_a_mounts_place_is_noticed(home: Home, tmp_path: Path) -> None:
    swapped = also("--chdir", "--bind", str(tmp_path), "/workspace/group")
    failed = (await in_bubblewrap(home, swapped)).failed
    assert failed == {"mounts": "/workspace/group is another directory than the host made ready"}


@pytest.mark.usefixtures("toolkit")
async def test_a_directory_that_is_writable_against_the_rules_is_noticed(home: Home) -> None:
    readonly = replace(GROUP, codex=replace(GROUP.codex, approval_policy="readonly"), provider="codex")
    spec = spec_of(home, readonly)
    group = next(mount for mount in spec.mounts if mount.target == "/workspace/group")
    assert group.readonly
    assert (await in_bubblewrap(home, spec=spec)).failed == {}
    loose = also("--chdir", "--bind", str(group.source), group.target)
    assert set((await in_bubblewrap(home, loose, spec)).failed) == {"mounts", "read-only"}


@pytest.mark.usefixtures("toolkit")
async def test_an_open_directory_of_the_host_is_noticed(home: Home) -> None:
    fd = os.open(home.root, os.O_RDONLY)
    try:
        assert str(home.root) in (await in_bubblewrap(home, extra_fds=(fd,))).failed["descriptors"]
    finally:
        os.close(fd)


@pytest.mark.usefixtures("toolkit")
async def test_a_planted_secret_is_found(home: Home) -> None:
    spec = spec_of(home)
    leak = also("--chdir", "--setenv", "LEAK", spec.canary)
    assert "secrets" in (await in_bubblewrap(home, leak, spec)).failed


@pytest.mark.usefixtures("toolkit")
async def test_an_agent_cannot_reach_into_the_runner(home: Home) -> None:
    """The same uid and no filter against opening files: what keeps it away is that the runner closed itself."""
    look = (
        "import os,sys,glob\n"
        "sys.stdout.reconfigure(line_buffering=True)\n"
        "for path in glob.glob('/proc/[0-9]*/cmdline'):\n"
        "    if 'nanoclaw_' + 'runner' in open(path).read():\n"
        "        for name in ('mem', 'environ', 'fd/0', 'fd/1', 'fd/3'):\n"
        "            try: os.open(os.path.dirname(path) + '/' + name, os.O_RDONLY); print('opened', name)\n"
        "            except PermissionError: print('refused', name)\n"
        "print('end')\n"
    )
    spec = spec_of(home)
    sandbox = BubblewrapSandbox(SandboxSettings())
    script = f'exec 9<&0; nanoclaw-runner <&9 & read -r go </workspace/group/go; exec {PYTHON} -c "$LOOK"'
    os.mkfifo(home.groups / "family" / "go")
    if AS_ROOT:
        os.chown(home.groups / "family" / "go", 1000, 1000)
    started = replace(spec, command=("sh", "-c", script), environment={"LOOK": look})
    async with sandbox.start(started) as process:
        lines = aiter(process.lines(LONGEST_LINE))
        await process.send_line(json.dumps(ask(home, sandbox.traits(), spec)).encode())
        assert b'"proof"' in await anext(lines)
        await anyio.to_thread.run_sync((home.groups / "family" / "go").write_text, "go\n")
        seen = [(await anext(lines)).decode() for _ in range(6)]
    (home.groups / "family" / "go").unlink()
    assert seen == ["refused mem", "refused environ", "refused fd/0", "refused fd/1", "refused fd/3", "end"]


# bubblewrap for a host that is nobody special


def world_of_an_ordinary_user(stack: ExitStack) -> tuple[Home, list[Mount]]:
    """A home and a runner that this user may read, with an interpreter that everybody may execute."""
    interpreter = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    assert interpreter, "apt-get install python3"
    root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nanoclaw-proof-")))
    root.chmod(0o755)
    write_files(root / "runner", runner_files(interpreter))
    (root / "agent").mkdir(mode=0o755)
    home = Home(root / "home")
    prepare(home, GROUP)
    for path in (home.root, *home.root.rglob("*")):
        os.chown(path, ORDINARY, ORDINARY)
    programs = [
        Mount(source=root / "agent", target="/opt/agent", readonly=True),
        Mount(source=root / "runner", target="/opt/nanoclaw", readonly=True),
    ]
    return home, programs


async def test_bubblewrap_holds_for_an_ordinary_user_too(home: Home) -> None:
    if not AS_ROOT:  # then all of the above was it
        assert (await in_bubblewrap(home)).failed == {}
        return
    with ExitStack() as stack:
        theirs, programs = world_of_an_ordinary_user(stack)
        user = (TOOLS.setpriv, f"--reuid={ORDINARY}", f"--regid={ORDINARY}", "--clear-groups", "--")
        assert (await in_bubblewrap(theirs, programs=programs, prefix=user)).failed == {}
        loose = await in_bubblewrap(theirs, without("--unshare-net"), programs=programs, prefix=user)
        assert {"network", "namespaces"} <= set(loose.failed)


# what a host makes of it


@pytest.mark.usefixtures("toolkit")
@pytest.mark.parametrize("engine", ["podman", "bubblewrap"])
async def test_a_sandbox_as_the_host_starts_it_holds(engine: str, home: Home) -> None:
    sandbox = EngineSandbox("podman", SandboxSettings()) if engine == "podman" else BubblewrapSandbox(SandboxSettings())
    assert (await sandbox.check()).ok
    assert await sandbox.is_built(), "`make test` builds it"
    spec = spec_of(home)
    async with sandbox.start(spec) as process:
        await process.send_line(json.dumps(ask(home, sandbox.traits(), spec)).encode())
        verdict = judge(await anext(aiter(process.lines(LONGEST_LINE))), sandbox.traits())
    assert (verdict.failed, verdict.lacks) == ({}, ())
