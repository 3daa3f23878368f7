"""Which host directories a sandbox sees."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nanoclaw.config import Home
from nanoclaw.errors import MountError
from nanoclaw.model import AdditionalMount, ClaudeConfig, Folder, Jid, RegisteredGroup
from nanoclaw.sandbox.extra_mounts import allowlist_path
from nanoclaw.sandbox.mounts import agent_owner, group_mounts, prepare
from nanoclaw.wire import GATEWAY_DIRECTORY, ApprovalPolicy


def group(folder: str = "family", *extra: AdditionalMount, policy: ApprovalPolicy = "auto") -> RegisteredGroup:
    return RegisteredGroup(
        jid=Jid(f"local:{folder}"),
        name=folder.title(),
        folder=Folder(folder),
        trigger="@Andy",
        added_at="2026-01-31T12:00:00Z",
        claude=ClaudeConfig(approval_policy=policy),
        additional_mounts=extra,
    )


def wants(path: Path | str, name: str = "webapp", *, readonly: bool = False) -> AdditionalMount:
    return AdditionalMount(host_path=str(path), container_path=name, readonly=readonly)


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home directory of our own, with some projects."""
    for name in ("webapp", "other", ".ssh/keys", ".envrc"):
        (tmp_path / "user" / "projects" / name).mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user" / ".config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user" / ".local" / "share"))
    return tmp_path / "user"


@pytest.fixture
def home(user: Path) -> Iterator[Home]:
    home = Home(user / "nanoclaw")
    yield home
    shutil.rmtree(home.sockets, ignore_errors=True)  # outside of the home when its path is long


Allow = Callable[..., None]


@pytest.fixture
def allow(user: Path) -> Allow:
    def write(*roots: dict[str, object], **more: object) -> None:
        allowlist_path().parent.mkdir(parents=True, exist_ok=True)
        allowlist_path().write_text(json.dumps({"allowedRoots": list(roots), **more}))

    return write


def modes(home: Home, group: RegisteredGroup) -> dict[str, str]:
    return {mount.target: "ro" if mount.readonly else "rw" for mount in group_mounts(home, group)}


def test_a_group_sees_its_own_directories_and_the_global_memory_readonly(home: Home) -> None:
    assert modes(home, group()) == {
        "/workspace/group": "rw",
        "/workspace/global": "ro",
        "/workspace/ipc": "ro",
        "/workspace/ipc/messages": "rw",
        "/workspace/ipc/tasks": "rw",
        "/workspace/media": "ro",
        "/home/node/.claude": "rw",
        "/home/node/.codex": "rw",
        "/run/nanoclaw": "ro",
    }


def test_where_sockets_do_not_pass_there_is_none(home: Home) -> None:
    with_socket = {mount.target for mount in group_mounts(home, group())}
    without = {mount.target for mount in group_mounts(home, group(), sockets=False)}
    assert with_socket - without == {GATEWAY_DIRECTORY}


def test_main_may_write_the_global_memory(home: Home) -> None:
    assert modes(home, group("main"))["/workspace/global"] == "rw"


@pytest.mark.parametrize("folder", ["main", "family"])
def test_a_readonly_group_writes_nothing_but_its_mailbox_and_its_providers_state(home: Home, folder: str) -> None:
    writable = {target for target, mode in modes(home, group(folder, policy="readonly")).items() if mode == "rw"}
    assert writable == {
        "/workspace/ipc/messages",
        "/workspace/ipc/tasks",
        "/home/node/.claude",
        "/home/node/.codex",
    }


def test_two_groups_share_the_global_memory_and_nothing_else(home: Home) -> None:
    sources = [{mount.source for mount in group_mounts(home, group(folder))} for folder in ("family", "work")]
    assert sources[0] & sources[1] == {home.groups / "global"}


def test_no_source_lies_inside_a_directory_that_a_sandbox_can_write(home: Home) -> None:
    mounts = [mount for folder in ("main", "family") for mount in group_mounts(home, group(folder))]
    writable = {mount.source for mount in mounts if not mount.readonly}
    assert not [mount.source for mount in mounts if writable & set(mount.source.parents)]


def test_a_parent_is_mounted_before_what_lies_inside_it(home: Home) -> None:
    targets = [Path(mount.target) for mount in group_mounts(home, group())]
    assert all(parent not in targets[index:] for index, path in enumerate(targets) for parent in path.parents)


def test_preparing_gives_the_agent_what_it_may_write_and_the_host_keeps_the_rest(home: Home) -> None:
    prepare(home, group())
    for mount in group_mounts(home, group()):
        status = mount.source.stat()
        kept = mount.target in ("/workspace/ipc", "/workspace/media", "/run/nanoclaw")
        expected = (0o755, os.geteuid()) if kept else (0o700, agent_owner()[0])
        assert (status.st_mode & 0o777, status.st_uid) == expected, mount


def test_a_login_that_root_copied_becomes_the_agents(home: Home) -> None:
    prepare(home, group())
    login = home.data / "codex" / "family" / ".codex" / "auth.json"
    login.write_text("{}")
    login.chmod(0o600)
    outside = home.root / "roots-own"
    outside.write_text("secret")
    (login.parent / "linked").hardlink_to(outside)
    (login.parent / "pointer").symlink_to(outside)
    prepare(home, group())
    assert login.stat().st_uid == agent_owner()[0]
    assert outside.stat().st_uid == os.geteuid()


def test_preparing_twice_changes_nothing(home: Home) -> None:
    prepare(home, group())
    (home.groups / "family" / "CLAUDE.md").write_text("we like cats")
    prepare(home, group())
    assert (home.groups / "family" / "CLAUDE.md").read_text() == "we like cats"


@pytest.mark.parametrize(
    "place", ["groups", "groups/family", "data", "data/ipc/family", "data/ipc/family/messages", "data/codex/family"]
)
def test_a_link_on_the_way_to_a_source_is_refused(home: Home, user: Path, place: str) -> None:
    (home.root / place).parent.mkdir(parents=True)
    (home.root / place).symlink_to(user / "projects")
    with pytest.raises(MountError, match="cannot be mounted"):
        prepare(home, group())
    assert sorted(path.name for path in (user / "projects").iterdir()) == [".envrc", ".ssh", "other", "webapp"]


def test_a_file_where_a_source_should_be_is_refused(home: Home) -> None:
    home.groups.mkdir(parents=True)
    (home.groups / "family").write_text("not a directory")
    with pytest.raises(MountError, match="cannot be mounted"):
        prepare(home, group())


def test_without_an_allowlist_there_are_no_additional_mounts(home: Home, user: Path) -> None:
    with pytest.raises(MountError, match=r"mount-allowlist\.json"):
        group_mounts(home, group("main", wants(user / "projects" / "webapp")))


def test_a_group_that_asks_for_none_needs_no_allowlist(home: Home) -> None:
    assert group_mounts(home, group())


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"allowedRoots": [{"path": 5}]}'])
def test_a_broken_allowlist_is_refused(home: Home, user: Path, allow: Allow, text: str) -> None:
    allow()
    allowlist_path().write_text(text)
    with pytest.raises(MountError, match=r"mount-allowlist\.json: "):
        group_mounts(home, group("main", wants(user / "projects" / "webapp")))


def extra(home: Home, group: RegisteredGroup) -> tuple[Path, str, bool]:
    mount = group_mounts(home, group)[-1]
    return mount.source, mount.target, mount.readonly


def test_an_allowed_directory_lands_below_extra(home: Home, user: Path, allow: Allow) -> None:
    allow({"path": "~/projects", "allowReadWrite": True, "description": "mine"})
    place = user / "projects" / "webapp"
    assert extra(home, group("main", wants("~/projects/webapp"))) == (place, "/workspace/extra/webapp", False)


@pytest.mark.parametrize(
    ("folder", "asked_readonly", "root_writable", "policy", "more", "expected_readonly"),
    [
        ("main", False, True, "auto", {}, False),
        ("main", True, True, "auto", {}, True),
        ("main", False, False, "auto", {}, True),
        ("main", False, True, "readonly", {}, True),
        ("family", False, True, "auto", {}, True),
        ("family", False, True, "auto", {"nonMainReadOnly": True}, True),
        ("family", False, True, "auto", {"nonMainReadOnly": False}, False),
    ],
)
def test_who_may_write_an_additional_mount(
    home: Home,
    user: Path,
    allow: Allow,
    folder: str,
    asked_readonly: bool,
    root_writable: bool,
    policy: ApprovalPolicy,
    more: dict[str, bool],
    expected_readonly: bool,
) -> None:
    allow({"path": "~/projects", "allowReadWrite": root_writable}, **more)
    wanted = wants("~/projects/webapp", readonly=asked_readonly)
    assert extra(home, group(folder, wanted, policy=policy))[2] is expected_readonly


def test_the_nearest_allowed_root_decides(home: Home, user: Path, allow: Allow) -> None:
    allow({"path": "~/projects", "allowReadWrite": True}, {"path": "~/projects/webapp"})
    assert extra(home, group("main", wants("~/projects/webapp")))[2] is True


@pytest.mark.parametrize("name", ["../group", "a/b", "/etc", "", ".", "..", ".ssh", "a\nb", "x" * 65])
def test_a_container_path_is_a_plain_name(home: Home, user: Path, allow: Allow, name: str) -> None:
    allow({"path": "~/projects"})
    with pytest.raises(MountError, match="plain name"):
        group_mounts(home, group("main", wants("~/projects/webapp", name)))


def test_two_mounts_need_two_names(home: Home, user: Path, allow: Allow) -> None:
    allow({"path": "~/projects"})
    with pytest.raises(MountError, match="same containerPath"):
        group_mounts(home, group("main", wants("~/projects/webapp"), wants("~/projects/other")))


@pytest.mark.parametrize("path", ["~/projects/nowhere", "projects/webapp", "~/projects/file", ""])
def test_what_is_no_directory_is_refused(home: Home, user: Path, allow: Allow, path: str) -> None:
    allow({"path": "~/projects"})
    (user / "projects" / "file").write_text("")
    with pytest.raises(MountError, match="not a directory"):
        group_mounts(home, group("main", wants(path)))


def test_what_lies_below_no_allowed_root_is_refused(home: Home, user: Path, allow: Allow) -> None:
    allow({"path": "~/projects/web"}, {"path": "~/projects/other"})
    with pytest.raises(MountError, match="no allowed root"):
        group_mounts(home, group("main", wants("~/projects/webapp")))


def test_a_link_out_of_an_allowed_root_is_refused(home: Home, user: Path, allow: Allow) -> None:
    allow({"path": "~/projects"})
    (user / "projects" / "innocent").symlink_to("/etc")
    with pytest.raises(MountError, match="no allowed root"):
        group_mounts(home, group("main", wants("~/projects/innocent")))


@pytest.mark.parametrize("path", ["~/projects/.ssh", "~/projects/.ssh/keys", "~/projects/link", "~/projects/.SSH"])
def test_blocked_names_are_never_mounted(home: Home, user: Path, allow: Allow, path: str) -> None:
    allow({"path": "~/projects"})
    (user / "projects" / "link").symlink_to(user / "projects" / ".ssh")
    (user / "projects" / ".SSH").mkdir(exist_ok=True)
    with pytest.raises(MountError, match="blocked"):
        group_mounts(home, group("main", wants(path)))


def test_the_owner_may_block_more(home: Home, user: Path, allow: Allow) -> None:
    allow({"path": "~/projects"}, blockedPatterns=["web*"])
    with pytest.raises(MountError, match=r"blocked by 'web\*'"):
        group_mounts(home, group("main", wants("~/projects/webapp")))


def test_a_pattern_matches_a_whole_name_and_no_part_of_one(home: Home, user: Path, allow: Allow) -> None:
    allow({"path": "~/projects"}, blockedPatterns=["web"])
    sources = [extra(home, group("main", wants(f"~/projects/{name}", "x")))[0] for name in (".envrc", "webapp")]
    assert sources == [user / "projects" / ".envrc", user / "projects" / "webapp"]


@pytest.mark.parametrize("path", ["~", "~/nanoclaw", "~/nanoclaw/groups", "~/.config", "~/.config/nanoclaw", "/"])
def test_nothing_overlaps_what_is_nanoclaws_own(home: Home, user: Path, allow: Allow, path: str) -> None:
    allow({"path": "/"})
    prepare(home, group())
    with pytest.raises(MountError, match="NanoClaw's own"):
        group_mounts(home, group("main", wants(path, readonly=True)))


@pytest.mark.parametrize("path", ["/dev", "/dev/shm", "/proc/self", "/sys/kernel", "/run", "/var", "/var/run", "/boot"])
def test_what_runs_the_machine_is_never_mounted(home: Home, allow: Allow, path: str) -> None:
    allow({"path": "/"})
    with pytest.raises(MountError, match="what runs this machine"):
        group_mounts(home, group("main", wants(path, readonly=True)))


def test_a_home_directory_is_never_mounted_whole(
    home: Home, user: Path, allow: Allow, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow({"path": "/"})
    (user / "projects" / "inner").mkdir()
    monkeypatch.setenv("HOME", str(user / "projects" / "inner"))
    with pytest.raises(MountError, match="what runs this machine"):
        group_mounts(home, group("main", wants(user / "projects", readonly=True)))


@pytest.mark.parametrize(
    "name",
    [".ssh", ".gnupg", ".aws", ".env", "credentials", ".docker", "docker.sock", "podman.sock", "containerd.sock"],
)
def test_what_is_blocked_without_anybodys_asking(home: Home, user: Path, allow: Allow, name: str) -> None:
    allow({"path": "~/projects"})
    (user / "projects" / name / "inner").mkdir(parents=True)
    for path in (f"~/projects/{name}", f"~/projects/{name}/inner"):
        with pytest.raises(MountError, match="blocked"):
            group_mounts(home, group("main", wants(path, "x", readonly=True)))


def test_the_program_itself_is_never_writable(home: Home, allow: Allow) -> None:
    import nanoclaw

    package = Path(nanoclaw.__file__).parent
    allow({"path": str(package.parent), "allowReadWrite": True})
    with pytest.raises(MountError, match="NanoClaw's own"):
        group_mounts(home, group("main", wants(package.parent)))
    assert extra(home, group("main", wants(package.parent, readonly=True)))[0] == package.parent.resolve()


def test_a_mount_inside_another_groups_writable_one_is_refused(home: Home, user: Path, allow: Allow) -> None:
    allow({"path": "~/projects", "allowReadWrite": True})
    main = group("main", wants("~/projects", "projects"))
    family = group("family", wants("~/projects/webapp"))
    with pytest.raises(MountError, match="group main can rearrange"):
        group_mounts(home, family, [main, family])
    assert group_mounts(home, main, [main, family])


def test_two_groups_may_share_one_directory(home: Home, user: Path, allow: Allow) -> None:
    allow({"path": "~/projects", "allowReadWrite": True})
    main, family = (group(folder, wants("~/projects/webapp")) for folder in ("main", "family"))
    assert group_mounts(home, family, [main, family])


def test_a_socket_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path / ("long" * 30))
    assert not home.sockets.is_relative_to(home.root)
    if os.geteuid() == 0:
        home.sockets.mkdir(mode=0o700)
        os.chown(home.sockets, 4711, 4711)
    else:
        home.sockets.symlink_to(tmp_path)
    try:
        with pytest.raises(MountError, match="cannot be mounted"):
            prepare(home, group())
    finally:
        home.sockets.rmdir() if os.geteuid() == 0 else home.sockets.unlink()
