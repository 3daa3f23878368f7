"""The command lines of sandboxes, what their engines say, and the filter of system calls."""

import io
import json
import struct
import tarfile
from dataclasses import replace
from errno import ENOSYS, EPERM
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

import pytest

from nanoclaw.config import SandboxSettings, Settings
from nanoclaw.errors import MountError, SandboxError, UsageError
from nanoclaw.model import Folder
from nanoclaw.sandbox import bubblewrap_commands, choose_for_build
from nanoclaw.sandbox.base import Limits, Mount, SandboxSpec
from nanoclaw.sandbox.bubblewrap_commands import Tools, bubblewrap_arguments
from nanoclaw.sandbox.cgroups import Place, find_places, missing_limits, settings_of
from nanoclaw.sandbox.engine import EngineSandbox
from nanoclaw.sandbox.engine_commands import (
    EngineName,
    explain,
    list_arguments,
    listed_names,
    mount_argument,
    run_arguments,
    user_arguments,
)
from nanoclaw.sandbox.engine_commands import (
    missing_limits as ignored_limits,
)
from nanoclaw.sandbox.payload import recipe_directory
from nanoclaw.sandbox.probe import probe_image
from nanoclaw.sandbox.seccomp import DENIED, LAST_KNOWN, NAMESPACE_FLAGS, PERMITTED_ARGUMENTS, bpf_filter

ENGINES: tuple[EngineName, ...] = ("podman", "docker")

SPEC = SandboxSpec(
    name="nanoclaw-0123456789ab-family-7-1-abc",
    installation="0123456789ab",
    folder=Folder("family"),
    mounts=(
        Mount(source=Path("/home/me/nanoclaw/data/ipc/family"), target="/workspace/ipc", readonly=True),
        Mount(source=Path("/home/me/nanoclaw/data/ipc/family/tasks"), target="/workspace/ipc/tasks", readonly=False),
    ),
    environment={"TZ": "Europe/Berlin"},
    command=("echo", "hi"),
    limits=Limits(memory_bytes=1 << 30, cpus=0.5, pids=99, tmp_bytes=1 << 20),
)


def contains(argv: list[str], *part: str) -> bool:
    return any(tuple(argv[start : start + len(part)]) == part for start in range(len(argv)))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "part",
    [
        ("--rm",),
        ("--interactive",),
        ("--pull", "never"),
        ("--network", "none"),
        ("--read-only",),
        ("--cap-drop", "ALL"),
        ("--security-opt", "no-new-privileges"),
        ("--security-opt", f"seccomp={recipe_directory() / 'seccomp.json'}"),
        ("--ipc", "private"),
        ("--log-driver", "none"),
        ("--memory", str(1 << 30)),
        ("--memory-swap", str(1 << 30)),
        ("--cpus", "0.5"),
        ("--pids-limit", "99"),
        ("--name", SPEC.name),
        ("--label", "nanoclaw.installation=0123456789ab"),
        ("--label", "nanoclaw.folder=family"),
        ("--tmpfs", f"/tmp:rw,exec,nosuid,nodev,size={1 << 20},mode=1777"),
        ("--workdir", "/workspace/group"),
        ("--env", "HOME=/home/node"),
        ("--env", "TZ=Europe/Berlin"),
        ("the-image", "echo", "hi"),
    ],
)
def test_a_container_starts_hardened(engine: EngineName, part: tuple[str, ...]) -> None:
    assert contains(run_arguments(engine, SPEC, "the-image"), *part)


@pytest.mark.parametrize("engine", ENGINES)
def test_limits_of_files_and_processes_go_together(engine: EngineName) -> None:
    argv = run_arguments(engine, SPEC, "the-image")
    kinds = [value.partition("=")[0] for option, value in pairwise(argv) if option == "--ulimit"]
    assert kinds == ["nofile", "nproc", "core", "fsize"]


def test_no_file_can_be_larger_than_all_that_the_group_may_keep() -> None:
    spec = replace(SPEC, limits=Limits(file_bytes=7 << 20))
    for engine in ENGINES:
        assert contains(run_arguments(engine, spec, "the-image"), "--ulimit", f"fsize={7 << 20}:{7 << 20}")
    assert f"--fsize={7 << 20}:{7 << 20}" in bubblewrap(as_root=False, spec=spec)


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_gives_a_container_more_than_it_needs(engine: EngineName) -> None:
    argv = run_arguments(engine, SPEC, "the-image")
    dangerous = {"--privileged", "--cap-add", "--device", "--volume", "-v", "--pid", "--uts", "--volumes-from", "-p"}
    assert not dangerous & {part.partition("=")[0] for part in argv}
    assert not [part for part in argv if "docker.sock" in part or "podman.sock" in part]
    assert [value for option, value in pairwise(argv) if option == "--ipc"] == ["private"]


def test_without_a_command_the_runner_runs() -> None:
    spec = SandboxSpec(name="n", installation="i", folder=Folder("f"), mounts=())
    assert run_arguments("podman", spec, "the-image")[-2:] == ["the-image", "nanoclaw-runner"]


@pytest.mark.parametrize(
    ("engine", "expected"),
    [("podman", ["podman", "--runtime", "runc", "run"]), ("docker", ["docker", "run", "--runtime", "runc"])],
)
def test_the_runtime_stands_where_the_engine_wants_it(engine: EngineName, expected: list[str]) -> None:
    assert run_arguments(engine, SPEC, "the-image", "runc")[:4] == expected


NODE = ["--user", "1000:1000"]


@pytest.mark.parametrize(
    ("engine", "system", "uid", "expected"),
    [
        ("podman", "Linux", 0, NODE),
        ("docker", "Linux", 0, NODE),
        ("podman", "Linux", 1001, ["--userns", "keep-id:uid=1000,gid=1000", *NODE]),
        ("docker", "Linux", 1001, ["--user", "1001:1002"]),
        ("docker", "Darwin", 501, NODE),
        ("container", "Darwin", 501, NODE),
    ],
)
def test_the_agent_is_the_hosts_user_and_never_root(
    engine: EngineName, system: str, uid: int, expected: list[str]
) -> None:
    assert user_arguments(engine, system, uid, 1002) == expected


def test_mounts_keep_their_order_and_mode() -> None:
    argv = run_arguments("podman", SPEC, "the-image")
    place = "/home/me/nanoclaw/data/ipc/family"
    mounted = [value for option, value in pairwise(argv) if option == "--mount" and "dst=/etc/hosts" not in value]
    assert mounted == [
        f"type=bind,src={place},dst=/workspace/ipc,readonly,bind-nonrecursive",
        f"type=bind,src={place}/tasks,dst=/workspace/ipc/tasks",
    ]


@pytest.mark.parametrize("name", ["a,b", 'a"b', "a\nb"])
def test_a_path_that_would_break_the_command_line_is_refused(name: str) -> None:
    with pytest.raises(MountError, match="cannot be mounted"):
        mount_argument(Mount(source=Path("/srv", name), target="/workspace/extra/x", readonly=True))


def test_only_the_installations_containers_are_listed() -> None:
    assert contains(list_arguments("docker", "abc"), "--filter", "label=nanoclaw.installation=abc")
    assert listed_names("docker", "abc", "nanoclaw-abc-1\nnanoclaw-abc-2\n") == ["nanoclaw-abc-1", "nanoclaw-abc-2"]
    assert listed_names("podman", "abc", "") == []


def test_apples_listing_is_filtered_here() -> None:
    entries: list[dict[str, object]] = [
        {"configuration": {"id": "ours", "labels": {"nanoclaw.installation": "abc"}}},
        {"configuration": {"id": "theirs", "labels": {"nanoclaw.installation": "abcd"}}},
        {"configuration": {"id": "plain", "labels": {}}},
    ]
    assert listed_names("container", "abc", json.dumps(entries)) == ["ours"]


@pytest.mark.parametrize(
    "stderr", ["Error: localhost/x:1: image not known\n", "Unable to find image 'x:1' locally\ndocker: Error…\n"]
)
def test_a_missing_image_is_told_with_its_cure(stderr: str) -> None:
    error = explain("podman", "localhost/x:1", 125, stderr)
    assert error is not None
    assert (str(error), error.hint) == (
        "podman does not have the image localhost/x:1",
        "build it with `nanoclaw image build`",
    )


@pytest.mark.parametrize(
    ("stderr", "hint"),
    [
        ("Error: OCI runtime error: crun: cgroups in hybrid mode not supported, drop all", "apt-get install runc"),
        ("docker: Cannot connect to the Docker daemon at unix:///var/run/docker.sock.", "systemctl start docker"),
        ("Error: runc: error setting rlimit type 7: operation not permitted", "hard limits"),
        ('Error: default OCI runtime "runsc" not found: invalid argument', "install the runtime"),
        ("Error: no valid executable found for OCI runtime /nowhere/x: invalid argument", "install the runtime"),
        ("docker: Error response from daemon: unknown or invalid runtime name: runsc.", "daemon.json"),
        ("Error: something new", ""),
    ],
)
def test_a_known_fault_comes_with_what_helps(stderr: str, hint: str) -> None:
    error = explain("podman", "x", 125, f"time=now level=warning msg=harmless\n{stderr}\n")
    assert error is not None
    assert stderr in str(error)
    assert hint in error.hint


def test_an_agent_that_fails_is_no_engine_that_fails() -> None:
    assert explain("podman", "x", 1, "Error: image not known") is None


def test_limits_that_the_engine_ignores_are_named() -> None:
    warning = "Resource limits are not supported and ignored on cgroups V1 rootless systems"
    assert ignored_limits(f"{warning}\n") == (warning,)
    assert ignored_limits("") == ()


@pytest.mark.anyio
async def test_building_for_an_unknown_sandbox_is_refused() -> None:
    with pytest.raises(UsageError, match="no sandbox is called lxc"):
        await choose_for_build(Settings(), "lxc")


def test_the_probe_is_a_program_and_its_directory() -> None:
    for machine in ("x86_64", "aarch64", "arm64"):
        with tarfile.open(fileobj=io.BytesIO(probe_image(machine))) as tar:
            program = tar.extractfile("true")
            assert program is not None
            assert program.read(4) == b"\x7fELF"
            assert tar.getmember("workspace/group").isdir()


# bubblewrap

TOOLS = Tools(bwrap="/usr/bin/bwrap", prlimit="/usr/bin/prlimit", setpriv="/usr/bin/setpriv")


def bubblewrap(*, as_root: bool, spec: SandboxSpec = SPEC) -> list[str]:
    programs = [Mount(source=Path("/opt/x/agent"), target="/opt/agent", readonly=True)]
    fds = {"/etc/passwd": 11}
    return bubblewrap_arguments(spec, TOOLS, programs, spec.command, as_root=as_root, seccomp_fd=10, file_fds=fds)


def test_what_tells_of_the_machine_is_hidden_as_far_as_it_is_there() -> None:
    argv = bubblewrap(as_root=False)
    hidden = {path for option, path in pairwise(argv) if option == "--tmpfs" and path.startswith("/proc/")}
    hidden |= {target for option, _, target in zip(argv, argv[1:], argv[2:], strict=False) if option == "--ro-bind"}
    there = {path for path in ("/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list") if Path(path).exists()}
    assert there
    assert there <= hidden
    assert argv.index("--proc") < min(argv.index(path) for path in there)


@pytest.mark.parametrize("as_root", [True, False])
def test_bubblewrap_shares_nothing_but_what_is_mounted(as_root: bool) -> None:
    argv = bubblewrap(as_root=as_root)
    for option in ("--unshare-net", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--die-with-parent"):
        assert option in argv
    assert contains(argv, "--new-session")
    assert contains(argv, "--cap-drop", "ALL")
    assert contains(argv, "--seccomp", "10")
    assert contains(argv, "--ro-bind", "/opt/x/agent", "/opt/agent")
    assert contains(argv, "--bind", str(SPEC.mounts[1].source), "/workspace/ipc/tasks")
    assert argv[-2:] == ["echo", "hi"]


def test_an_ordinary_user_gets_a_user_namespace() -> None:
    argv = bubblewrap(as_root=False)
    assert contains(argv, "--unshare-user", "--uid", "1000", "--gid", "1000")
    assert "--cap-add" not in argv
    assert "/usr/bin/setpriv" not in argv


def test_root_is_given_up_before_the_command_starts() -> None:
    argv = bubblewrap(as_root=True)
    assert "--unshare-user" not in argv
    inside = argv[argv.index("/usr/bin/setpriv") :]
    assert inside == [
        *("/usr/bin/setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"),
        *("--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all", "--no-new-privs", "--", "echo", "hi"),
    ]


@pytest.mark.parametrize(
    ("stderr", "hint"),
    [
        ("bwrap: setting up uid map: Permission denied", "apparmor_restrict_unprivileged_userns"),
        ("bwrap: No permissions to create new namespace, likely because", "unprivileged_userns_clone"),
        ("bwrap: Unknown option --size", "0.7"),
        ("setpriv: failed to execute nope: No such file or directory", ""),
    ],
)
def test_a_failed_start_of_bubblewrap_comes_with_what_helps(stderr: str, hint: str) -> None:
    error = bubblewrap_commands.explain(1, f"{stderr}\n")
    assert error is not None
    assert hint in error.hint


def test_an_agent_that_fails_is_no_bubblewrap_that_fails() -> None:
    assert bubblewrap_commands.explain(1, "Traceback: no") is None
    assert bubblewrap_commands.explain(0, "bwrap: odd") is None


# control groups


def proc(tmp_path: Path, cgroup: str, mounts: dict[str, str]) -> Path:
    (tmp_path / "cgroup").write_text(cgroup)
    lines = [f"32 31 0:29 / {tmp_path / place} rw,relatime - {kind}\n" for place, kind in mounts.items()]
    (tmp_path / "mountinfo").write_text("".join(lines))
    return tmp_path


def test_groups_of_version_1_go_below_the_process_own(tmp_path: Path) -> None:
    (tmp_path / "memory" / "host").mkdir(parents=True)
    (tmp_path / "cpu").mkdir()
    fake = proc(
        tmp_path,
        "4:memory:/host\n1:cpu,cpuacct:/\n0::/\n",
        {
            "memory": "cgroup cgroup rw,memory",
            "cpu": "cgroup cgroup rw,cpu,cpuacct",
            "blkio": "cgroup cgroup rw,blkio",
            "tmp": "tmpfs tmpfs rw",
        },
    )
    memory, cpu = find_places(fake)
    assert memory == Place(directory=tmp_path / "memory" / "host", controllers=frozenset({"memory"}), version=1)
    assert cpu == Place(directory=tmp_path / "cpu", controllers=frozenset({"cpu"}), version=1)
    assert missing_limits((memory, cpu)) == ("a limit on processes",)


def test_groups_of_version_2_go_beside_the_process_own(tmp_path: Path) -> None:
    (tmp_path / "all" / "app.slice" / "host.service").mkdir(parents=True)
    (tmp_path / "all" / "app.slice" / "cgroup.procs").write_text("")
    (tmp_path / "all" / "app.slice" / "cgroup.subtree_control").write_text("memory pids io\n")
    fake = proc(tmp_path, "0::/app.slice/host.service\n", {"all": "cgroup2 cgroup2 rw"})
    (place,) = find_places(fake)
    assert place == Place(
        directory=tmp_path / "all" / "app.slice", controllers=frozenset({"memory", "pids"}), version=2
    )


def test_a_group_without_controllers_is_no_place(tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    assert find_places(proc(tmp_path, "0::/\n", {"all": "cgroup2 cgroup2 rw"})) == ()


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (
            1,
            {
                "memory.limit_in_bytes": str(1 << 30),
                "memory.memsw.limit_in_bytes": str(1 << 30),
                "pids.max": "99",
                "cpu.cfs_period_us": "100000",
                "cpu.cfs_quota_us": "50000",
            },
        ),
        (2, {"memory.max": str(1 << 30), "memory.swap.max": "0", "pids.max": "99", "cpu.max": "50000 100000"}),
    ],
)
def test_limits_are_written_in_the_words_of_each_version(version: int, expected: dict[str, str]) -> None:
    place = Place(directory=Path("/x"), controllers=frozenset({"memory", "pids", "cpu"}), version=version)
    assert settings_of(place, SPEC.limits) == expected


# system calls

ALLOW, KILL = "allow", "kill"


def verdict(program: bytes, architecture: int, number: int, argument: int = 0) -> int | str:
    """What the kernel would do with a call: run classic BPF over its `struct seccomp_data`."""
    data = struct.pack("<IIQ6Q", number, architecture, 0, argument, 0, 0, 0, 0, 0)
    counter, accumulator = 0, 0
    while True:
        code, if_true, if_false, value = struct.unpack_from("<HBBI", program, counter * 8)
        counter += 1
        if code == 0x20:
            accumulator = struct.unpack_from("<I", data, value)[0]
        elif code == 0x06:
            return {0x7FFF0000: ALLOW, 0x80000000: KILL}.get(value, value & 0xFFFF)
        else:
            met = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: accumulator & value != 0}[code]
            counter += if_true if met else if_false


MACHINES = {"x86_64": (0, 0xC000003E, 56, 41), "aarch64": (1, 0xC00000B7, 220, 198)}  # column, arch, clone, socket


DOCKER_REFUSES: Final = (
    "acct", "add_key", "bpf", "chroot", "clock_adjtime", "clock_settime", "create_module", "delete_module",
    "fanotify_init", "finit_module", "fsconfig", "fsmount", "fsopen", "fspick", "get_kernel_syms", "get_mempolicy",
    "init_module", "io_uring_enter", "io_uring_register", "io_uring_setup", "ioperm", "iopl", "kcmp",
    "kexec_file_load", "kexec_load", "keyctl", "lookup_dcookie", "mbind", "mount", "mount_setattr", "move_mount",
    "move_pages", "nfsservctl", "open_by_handle_at", "open_tree", "perf_event_open", "pidfd_getfd", "pivot_root",
    "process_madvise", "process_vm_readv", "process_vm_writev", "query_module", "quotactl", "quotactl_fd", "reboot",
    "request_key", "set_mempolicy", "set_mempolicy_home_node", "setdomainname", "sethostname", "setns",
    "settimeofday", "swapoff", "swapon", "sysfs", "syslog", "_sysctl", "umount2", "unshare", "uselib", "userfaultfd",
    "ustat", "vhangup",
)  # fmt: skip
"""What Docker's default profile refuses to a process without capabilities, as its documentation and its rules say."""


def test_whatever_docker_refuses_is_refused() -> None:
    profile = json.loads((recipe_directory() / "seccomp.json").read_text(encoding="ascii"))
    allowed = {name for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}
    assert not allowed & set(DOCKER_REFUSES)
    assert set(DOCKER_REFUSES) <= DENIED.keys()
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    (clone3,) = (rule for rule in profile["syscalls"] if "clone3" in rule["names"])
    assert clone3["action"] == "SCMP_ACT_ERRNO"


def test_clone_and_socket_are_allowed_with_some_arguments_only() -> None:
    profile = json.loads((recipe_directory() / "seccomp.json").read_text(encoding="ascii"))
    rules = [rule for rule in profile["syscalls"] if set(rule["names"]) & {"clone", "socket", "personality"}]
    assert all(len(rule["names"]) == 1 and rule["args"] for rule in rules)
    (clone,) = (rule for rule in rules if rule["names"] == ["clone"])
    assert clone["args"] == [{"index": 0, "value": NAMESPACE_FLAGS, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]


@pytest.mark.parametrize("machine", MACHINES)
def test_the_filter_denies_what_is_on_the_list_and_allows_the_rest(machine: str) -> None:
    column, architecture, clone, socket = MACHINES[machine]
    program = bpf_filter(machine)
    denied = {pair[column] for pair in DENIED.values()}
    for number in set(range(LAST_KNOWN + 1)) - {435, clone, socket, 135, 92}:
        assert verdict(program, architecture, number) == (EPERM if number in denied else ALLOW), number


@pytest.mark.parametrize("machine", MACHINES)
def test_the_filter_refuses_namespaces_and_leaves_threads(machine: str) -> None:
    _, architecture, clone, _ = MACHINES[machine]
    program = bpf_filter(machine)
    assert verdict(program, architecture, clone, 0x3D0F00) == ALLOW
    for bit in range(32):
        if NAMESPACE_FLAGS & 1 << bit:
            assert verdict(program, architecture, clone, 1 << bit | 0x11) == ENOSYS
    assert verdict(program, architecture, 435) == ENOSYS


@pytest.mark.parametrize("machine", MACHINES)
def test_the_filter_knows_four_kinds_of_socket(machine: str) -> None:
    _, architecture, _, socket = MACHINES[machine]
    allowed = [family for family in range(64) if verdict(bpf_filter(machine), architecture, socket, family) == ALLOW]
    assert allowed == list(PERMITTED_ARGUMENTS["socket"])


def test_the_filter_leaves_no_way_round_by_another_numbering() -> None:
    program = bpf_filter("x86_64")
    assert verdict(program, 0x40000003, 26) == KILL
    assert verdict(program, 0xC000003E, 0x40000000 | 101) == ENOSYS
    assert verdict(program, 0xC000003E, LAST_KNOWN + 1) == ENOSYS


def test_a_machine_without_a_filter_is_refused() -> None:
    with pytest.raises(SandboxError, match="riscv64"):
        bpf_filter("riscv64")


def test_the_engines_profile_is_an_allowlist_without_what_is_denied() -> None:
    profile = json.loads((recipe_directory() / "seccomp.json").read_text())
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    allowed = [rule for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW"]
    freely = {name for rule in allowed if not rule.get("args") for name in rule["names"]}
    assert {"read", "execve", "futex", "openat"} <= freely
    assert not freely & {*DENIED, "clone", "clone3", *PERMITTED_ARGUMENTS}
    assert not any(architecture["subArchitectures"] for architecture in profile["archMap"])


def test_the_engines_profile_permits_the_same_arguments_as_the_filter() -> None:
    profile = json.loads((recipe_directory() / "seccomp.json").read_text())
    conditions: dict[str, list[int]] = {}
    for rule in profile["syscalls"]:
        for argument in rule.get("args", ()):
            conditions.setdefault(rule["names"][0], []).append(argument["value"])
    assert conditions == {
        "clone": [NAMESPACE_FLAGS],
        **{name: list(values) for name, values in PERMITTED_ARGUMENTS.items()},
    }


@pytest.mark.parametrize(
    ("engine", "way_out", "passes"),
    [("podman", "auto", True), ("podman", "stdio", False), ("container", "auto", False), ("container", "socket", True)],
)
def test_the_socket_is_mounted_where_it_is_of_use(
    engine: EngineName, way_out: Literal["auto", "socket", "stdio"], *, passes: bool
) -> None:
    assert EngineSandbox(engine, SandboxSettings(way_out=way_out)).traits().passes_sockets is passes
