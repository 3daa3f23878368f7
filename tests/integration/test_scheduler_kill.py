"""Two processes tick one database and are killed again and again: due moments = recorded runs, no doubles."""

import random
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from nanoclaw import taskbook
from nanoclaw.clock import SystemClock
from nanoclaw.model import Folder
from nanoclaw.schedule import upcoming
from nanoclaw.store import tasks
from nanoclaw.store.database import connect, transaction

_TASKS = 100
_KILLS = 30


@contextmanager
def tickers(database: Path, count: int) -> Generator[list[subprocess.Popen[bytes]]]:
    processes = [start(database) for _ in range(count)]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def start(database: Path) -> subprocess.Popen[bytes]:
    script = Path(__file__).with_name("ticker.py")
    return subprocess.Popen([sys.executable, script, database], stdin=subprocess.DEVNULL)


def test_every_due_moment_has_one_run(tmp_path: Path) -> None:
    randomly = random.Random(20261122)
    path = tmp_path / "n.db"
    begun = SystemClock().now()
    db = connect(path, begun)
    with transaction(db):
        made = [
            taskbook.add(
                db,
                taskbook.Draft(
                    folder=Folder("main"),
                    prompt="x",
                    schedule_type="interval",
                    schedule_value=str(randomly.randrange(1000, 2000)),
                    timezone="UTC",
                    context_mode="isolated",
                    missed="all",
                ),
                begun,
            )
            for _ in range(_TASKS)
        ]
    with tickers(path, 2) as processes:
        for _ in range(_KILLS):
            time.sleep(randomly.uniform(0.05, 0.5))
            victim = randomly.randrange(len(processes))
            processes[victim].kill()
            processes[victim].wait()
            processes[victim] = start(path)
        last = SystemClock().now()
        while (due := tasks.next_due_at(db)) is not None and due <= last + timedelta(seconds=1):
            time.sleep(0.1)
    for task in made:
        now = tasks.get(db, task.id)
        assert now is not None
        assert task.next_at is not None
        assert now.next_at is not None
        recorded = sorted(run.scheduled_for for run in tasks.history(db, task.id, 10_000) if run.scheduled_for)
        expected = [m for m in upcoming(taskbook.schedule_of(task), task.next_at, len(recorded) + 5) if m < now.next_at]
        assert recorded == expected
    db.close()
