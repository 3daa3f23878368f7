"""The home's files: what people edit, who may read them, whose they are, and mailboxes."""

import os
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from nanoclaw.config import load_secrets, load_settings
from nanoclaw.credentials.keys import load_group_secrets
from nanoclaw.doctor.findings import Finding, Mend, fine, in_thread, problem
from nanoclaw.doctor.scene import Scene
from nanoclaw.errors import NanoclawError
from nanoclaw.groups import load_groups
from nanoclaw.initialise import initialise
from nanoclaw.ipc import files as mailbox
from nanoclaw.model import RegisteredGroup
from nanoclaw.privacy import ROOT_HINT, exposures, make_home_private
from nanoclaw.sandbox.mounts import kept_directories

_MOST_FILES: Final = 20_000  # of one group; a look at so many takes a tenth of a second
_STUCK_SECONDS: Final = 60.0  # a host takes milliseconds for a file
_OPEN_MODE: Final = 0o755


def home_is_there(scene: Scene) -> Iterator[Finding]:
    """What `nanoclaw init` makes."""
    home = scene.home
    wanted = (home.root, home.groups, home.groups / "global", home.data, home.run, home.logs, home.registered_groups)
    missing = [path for path in wanted if not path.exists()]
    if not missing:
        yield fine("home", f"{home.root} has what it needs")
        return
    mend = Mend(does=f"make what is missing of {home.root}", run=in_thread(partial(initialise, home)))
    yield problem("home-incomplete", "home", f"{missing[0]} is not there", "run `nanoclaw init`", mend)


def settings(scene: Scene) -> Iterator[Finding]:
    """`nanoclaw.toml`"""
    path = scene.home.settings
    yield _read("settings-broken", "settings", partial(load_settings, scene.home), f"{path} is right")


def secrets(scene: Scene) -> Iterator[Finding]:
    """`.env`, and those of groups."""

    def load() -> None:
        load_secrets(scene.home)
        for group in scene.groups.values():
            load_group_secrets(scene.home, group.folder)

    yield _read("secrets-broken", "secrets", load, "can be read")


def groups(scene: Scene) -> Iterator[Finding]:
    """`registered_groups.json`"""
    load = partial(load_groups, scene.home.registered_groups)
    yield _read("groups-broken", "groups", load, f"{len(scene.groups)} registered")


def _read(name: str, check: str, load: Callable[[], object], good: str) -> Finding:
    try:
        load()
    except NanoclawError as error:
        return problem(name, check, str(error), error.hint)
    return fine(check, good)


def privacy(scene: Scene) -> Iterator[Finding]:
    """Nobody else reads the home."""
    if scene.machine.uid == 0:
        yield problem("root", "user", "this is root", ROOT_HINT)
    exposed = exposures(scene.home)
    mend = Mend(
        does="take from others what they may do in the home", run=in_thread(partial(make_home_private, scene.home))
    )
    for exposure in exposed:
        if exposure.foreign:
            hint = f"chown {os.geteuid()} {exposure.path}"
            yield problem("home-foreign", "privacy", str(exposure), hint)
        else:
            yield problem("home-exposed", "privacy", str(exposure), f"chmod go= {exposure.path}", mend)
    if not exposed:
        yield fine("privacy", "nobody else can read the home")


def owners(scene: Scene) -> Iterator[Finding]:
    """What agents keep belongs to the user as which they run."""
    foreign = [(group, found) for group in scene.groups.values() if (found := _foreign(scene, group))]
    for group, found in foreign:
        yield _not_the_agents(scene, group, found)
    if not foreign:
        yield fine("files of groups", "they belong to the user as which agents run")


def _not_the_agents(scene: Scene, group: RegisteredGroup, found: list[Path]) -> Finding:
    uid, is_root = scene.machine.agent_uid, scene.machine.uid == 0
    tops = [top for top in kept_directories(scene.home, group) if any(path.is_relative_to(top) for path in found)]
    what = f"{len(found)} belong to another user than agents run as, e.g. {found[0]}"
    hint = f"{'' if is_root else 'sudo '}chown -R {uid} {' '.join(map(str, tops))}"
    run = in_thread(partial(_give, tops, uid))
    mend = Mend(does=f"give the files of {group.folder} to user {uid}", run=run) if is_root else None
    return problem("files-foreign", f"files of {group.folder}", what, hint, mend)


def _foreign(scene: Scene, group: RegisteredGroup) -> list[Path]:
    """Files of the group that its agent does not own. The directories themselves are put right before every run."""
    found: list[Path] = []
    left = _MOST_FILES
    for top in kept_directories(scene.home, group):
        for directory, inner, names in os.walk(top):
            paths = [Path(directory, name) for name in (*inner, *names)]
            found += [path for path in paths if _owner(path) not in (None, scene.machine.agent_uid)]
            left -= len(paths)
            if left <= 0:
                return found
    return found


def _owner(path: Path) -> int | None:
    """None: an agent has taken it away meanwhile."""
    try:
        return path.lstat().st_uid
    except FileNotFoundError:
        return None


def _give(tops: list[Path], uid: int) -> None:
    """Following no link: an agent arranges what lies there. What has a second name elsewhere is left alone."""
    for top in tops:
        for _, inner, names, handle in os.fwalk(top):
            for name in (*inner, *names):
                status = os.stat(name, dir_fd=handle, follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode) or status.st_nlink == 1:
                    os.chown(name, uid, uid, dir_fd=handle, follow_symlinks=False)


def mailboxes(scene: Scene) -> Iterator[Finding]:
    """Each is as the host makes it, and nothing lies in it for long."""
    broken = False
    for group in scene.groups.values():
        check, top = f"mailbox of {group.folder}", scene.home.mailboxes / group.folder
        if not os.path.lexists(top):
            continue  # made when the host takes the group into force
        if bad := _misplaced(top):
            broken = True
            yield problem("mailbox-broken", check, f"{bad} is no directory", f"rm {bad}, then start the host")
        elif bad := _ill_set(top):
            broken = True
            run = in_thread(partial(mailbox.prepare, scene.home.mailboxes, group.folder))
            mend = Mend(does=f"put the mailbox of {group.folder} right", run=run)
            yield problem("mailbox-broken", check, f"{bad} has the wrong mode", f"chmod 755 {bad}", mend)
        else:
            yield from _contents(scene, check, top)
    if not broken:
        yield fine("mailboxes", "they are as they must be")


def _misplaced(top: Path) -> Path | None:
    places = (top, *(top / name for name in (*mailbox.INBOXES, mailbox.RESULTS, mailbox.CLAIMED, mailbox.REFUSED)))
    return next((path for path in places if os.path.lexists(path) and not stat.S_ISDIR(path.lstat().st_mode)), None)


def _ill_set(top: Path) -> Path | None:
    places = (top, *(top / name for name in (*mailbox.INBOXES, mailbox.RESULTS)))
    return next((path for path in places if not path.exists() or stat.S_IMODE(path.stat().st_mode) != _OPEN_MODE), None)


def _contents(scene: Scene, check: str, top: Path) -> Iterator[Finding]:
    files = [path for name in (*mailbox.INBOXES, mailbox.CLAIMED) for path in (top / name).glob("*.json")]
    if not files:
        return
    if scene.status is None:
        yield problem("mailbox-waiting", check, f"{len(files)} files wait", "nanoclaw run")
        return
    old = [path for path in files if scene.machine.now.timestamp() - path.lstat().st_ctime > _STUCK_SECONDS]
    if old:
        hint = "`nanoclaw logs` tells why (mailbox.postponed); start the host again"
        yield problem("mailbox-stuck", check, f"{len(old)} files wait for more than a minute", hint)
