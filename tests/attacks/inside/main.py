"""Runs one phase and writes a line of JSON for each attempt into the group's directory."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

from . import forging, listing, mailbox, network, privilege, proxy, reading, rearranging, resources, sending, writing
from .attempt import ATTEMPTS, QUIET, Attempt, Lab, in_child, outcome

MODULES: Final = (reading, privilege, writing, network, proxy, listing, mailbox, sending, rearranging, resources)
"""Importing them puts their attempts on the list."""

_PLACE: Final = Path("/workspace/group")
_AT_ONCE: Final = 12


def main(phase: str) -> None:
    """Run what is called `phase`: attempts, or something that disturbs the run itself."""
    lab: Lab = json.loads((_PLACE / "lab.json").read_text(encoding="utf-8"))
    if any(item.phase == phase for item in ATTEMPTS):
        chosen = [item for item in ATTEMPTS if item.phase == phase and item.name in (lab["only"] or (item.name,))]
        _report(phase, chosen, lab, _AT_ONCE if phase in (QUIET, listing.LISTED) else 1)
    else:
        print(_DISTURBING[phase](lab), flush=True)


_DISTURBING: Final[dict[str, Callable[[Lab], str]]] = {
    "forge": lambda _: forging.forge(),
    "flood": lambda _: forging.flood(30),
    "second traps": lambda lab: str(rearranging.lay_second_traps(lab)),
    "kill runner": lambda lab: forging.end_runner(lab, signal.SIGKILL),
    "stop runner": lambda lab: forging.end_runner(lab, signal.SIGSTOP),
    "kill all": forging.end_all,
    "drip": proxy.drip,
    "fill disk": resources.fill_disk,
    "paint and kill runner": forging.paint_and_end,
}


def _report(phase: str, attempts: list[Attempt], lab: Lab, at_once: int) -> None:
    waiting: SimpleQueue[Attempt] = SimpleQueue()
    for item in attempts:
        waiting.put(item)
    handle = os.open(_PLACE / f"results-{phase}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)

    def work() -> None:
        while True:
            try:
                item = waiting.get_nowait()
            except Empty:
                return
            begun = time.monotonic()
            got = in_child(partial(outcome, item.act, lab), item.seconds)
            row = {**_row(item), "got": got, "seconds": round(time.monotonic() - begun, 3)}
            os.write(handle, json.dumps(row).encode() + b"\n")

    workers = [threading.Thread(target=work) for _ in range(at_once)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(f"{len(attempts)} attempts were made")


def _row(item: Attempt) -> dict[str, object]:
    return {"category": item.category, "name": item.name, "expected": item.expected}
