"""`python -m tests.attacks`: every attack on every kind of sandbox that is here, and one table."""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import anyio
from pydantic import TypeAdapter

from nanoclaw.logs import set_up_logging
from tests.attacks.operation import attack
from tests.attacks.surroundings import Ground, grounds, ordinary_user
from tests.attacks.table import Row, render


def main() -> None:
    """Attack, print, and say by the exit status whether everything held."""
    parser = argparse.ArgumentParser(prog="attacks")
    parser.add_argument("--only", help="the kind of sandbox, as the table calls it")
    parser.add_argument("--rows", metavar="ENGINE", help="attack this one here and now, and print the rows as JSON")
    options = parser.parse_args()
    set_up_logging(None, "error", to_stderr=True)
    if options.rows:
        print(json.dumps([asdict(row) for row in rows_of(Ground(options.rows, options.rows))]))
        return
    chosen = [ground for ground in grounds() if options.only in (None, ground.title)]
    rows = [row for ground in chosen if not ground.missing for row in rows_of(ground)]
    print(render(rows, [f"{ground.title}: not attacked: {ground.missing}" for ground in chosen if ground.missing]))
    sys.exit(not rows or not all(row.held for row in rows))


def rows_of(ground: Ground) -> list[Row]:
    """All attempts on one kind of sandbox."""
    if not ground.ordinary:
        with tempfile.TemporaryDirectory(prefix="nanoclaw-attacks-") as directory:
            return anyio.run(attack, ground, Path(directory))
    with ordinary_user(("-m", "tests.attacks", "--rows", ground.engine)) as command:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, stdin=subprocess.DEVNULL)
    rows = TypeAdapter(list[Row]).validate_json(done.stdout.splitlines()[-1])
    return [replace(row, engine=ground.title) for row in rows]


if __name__ == "__main__":
    main()
