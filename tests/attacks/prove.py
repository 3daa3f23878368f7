"""`python -m tests.attacks.prove`: each defence taken away, and the suite seen to fail."""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Final

import anyio

from nanoclaw.logs import set_up_logging
from tests.attacks.campaign import campaign
from tests.attacks.defences import DEFENCES
from tests.attacks.lab import ATTACKER, make_passable
from tests.attacks.operation import settle
from tests.attacks.sabotage import Defence, succeeded, taken_away
from tests.attacks.surroundings import grounds

NOT_SEEN: Final = "not seen"


async def without(defence: Defence, kind: str) -> tuple[list[str], str]:
    """What succeeds without a defence, and what the proof at the start says if it is in force.

    Args:
        defence: what is taken away.
        kind: of sandbox, as the settings name it.
    """
    with tempfile.TemporaryDirectory(prefix="nanoclaw-prove-") as name:
        directory = Path(name)
        make_passable(directory)
        with taken_away(defence, kind, directory, proof=False):
            async with campaign(kind, kind, directory / "unproven") as attacked:
                await settle(attacked)
                got_through = await succeeded(attacked, defence)
                broken = [
                    f"{row.name}: {row.got}" for row in attacked.rows if row.category == "the suite" and not row.held
                ]
        if broken and not got_through:
            raise RuntimeError("; ".join(broken))
        if not defence.proven:
            return got_through, NOT_SEEN
        with taken_away(defence, kind, directory, proof=True):
            async with campaign(kind, kind, directory / "proven") as attacked:
                said = await attacked.ask(ATTACKER, "hello")
        return got_through, said


def main() -> None:
    """Take every defence away on every kind of sandbox that is here; the exit status says whether all were missed."""
    parser = argparse.ArgumentParser(prog="prove")
    parser.add_argument("--only", help="the defence, as the table calls it")
    options = parser.parse_args()
    set_up_logging(None, "critical", to_stderr=True)
    here = {ground.engine for ground in grounds() if not ground.missing}
    blind: list[str] = []
    for defence in DEFENCES:
        if options.only not in (None, defence.name):
            continue
        kinds = [kind for kind in ("podman", "docker", "bubblewrap") if kind in here and kind in defence.edits]
        for kind in kinds or sorted(here)[:1]:
            got_through, said = anyio.run(without, defence, kind)
            if not got_through:
                blind.append(f"{defence.name} ({kind})")
            proof = "not seen" if said == NOT_SEEN else "refused" if "does not hold" in said else "NOT REFUSED"
            print(f"| {defence.name} | {kind} | {'; '.join(got_through) or 'NOTHING'} | {proof} |", flush=True)
    print(f"not missed by the suite: {', '.join(blind)}" if blind else "every defence is missed when it is gone")
    sys.exit(bool(blind))


if __name__ == "__main__":
    main()
