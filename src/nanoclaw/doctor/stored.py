"""The database."""

from collections.abc import Iterator
from functools import partial
from typing import Final

from nanoclaw.doctor.findings import Finding, Mend, fine, in_thread, problem
from nanoclaw.doctor.scene import Scene
from nanoclaw.store.inspection import fold_log, inspect

_LARGE_LOG_BYTES: Final = 64 << 20  # SQLite folds it in at 4 MiB, unless somebody reads for ever


def database(scene: Scene) -> Iterator[Finding]:
    """The file is whole, and of this program."""
    path = scene.home.database
    if not path.exists():
        yield problem("database-missing", "database", "there is none yet", "nanoclaw run")
        return
    found = inspect(path)
    restore = "stop the host, then `nanoclaw restore BACKUP`"
    match found.state:
        case "damaged":
            yield problem("database-damaged", "database", f"it is damaged: {found.detail}", restore)
        case "unreadable":
            hint = f"check the disk, and who owns {path.parent}"
            yield problem("database-unreadable", "database", f"it cannot be read: {found.detail}", hint)
        case "newer":
            what = f"a newer program has changed it ({found.detail})"
            yield problem("database-newer", "database", what, f"install that version, or {restore}")
        case "older":
            yield problem("database-older", "database", f"an older program wrote it: {found.detail}", "nanoclaw run")
        case "intact" if found.log_bytes > _LARGE_LOG_BYTES:
            yield _large_log(scene, found.log_bytes)
        case "intact":
            yield fine("database", "intact")


def _large_log(scene: Scene, count: int) -> Finding:
    what = f"its write-ahead log has {count >> 20} MB"
    if scene.status is not None:
        return problem("database-log-large", "database", what, "end other programs that read it; start the host again")
    run = in_thread(partial(fold_log, scene.home.database))
    mend = Mend(does="take the database's log into its file", run=run)
    return problem("database-log-large", "database", what, "nanoclaw doctor --fix", mend)
