"""`nanoclaw audit`: what was refused, as the page shows it."""

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from nanoclaw.cli.reading import database
from nanoclaw.cli.showing import Table, say
from nanoclaw.clock import iso
from nanoclaw.config import Home
from nanoclaw.groups import find_group, load_groups
from nanoclaw.refusals import MOST_HOSTS, REASONS, Kept, kept_refusals, place
from nanoclaw.sandbox.proof import MEANINGS
from nanoclaw.store import refused
from nanoclaw.store.refused import RefusedHost


def audit(
    context: typer.Context,
    folder: Annotated[str | None, typer.Argument(help="Only this group, by folder or jid.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show what was refused: requests of sandboxes, mailbox files, logins, and sandboxes that did not hold."""
    home: Home = context.obj
    groups = load_groups(home.registered_groups)
    only = find_group(groups, folder).folder if folder else None
    with database(home) as db:
        hosts = refused.hosts(db, MOST_HOSTS, only)
    kept = kept_refusals(home, [only] if only else [group.folder for group in groups.values()])
    if as_json:
        print(json.dumps(refusals_json(hosts, kept), indent=2, ensure_ascii=False))
    else:
        _show(hosts, kept)


def refusals_json(hosts: Sequence[RefusedHost], kept: Kept) -> dict[str, Any]:
    """As programs get them."""
    return {
        "hosts": [
            {"group": each.folder, "host": each.host, "port": each.port, "reason": each.reason, "times": each.times,
             "last_at": iso(each.last_at)} for each in hosts
        ],
        "files": [{"group": each.folder, "name": each.name, "at": iso(each.at)} for each in kept.files],
        "logins": [
            {"group": each.folder, "path": str(each.path), "at": iso(each.at), "hint": each.hint}
            for each in kept.logins
        ],
        "proofs": [
            {"group": each.folder, "sandbox": each.sandbox, "at": iso(each.at), "failed": each.verdict.failed,
             "problem": each.verdict.problem} for each in kept.proofs
        ],
    }  # fmt: skip


def _show(hosts: Sequence[RefusedHost], kept: Kept) -> None:
    table = Table("last", "group", "what", "why", "times", box=None)
    for host in hosts:
        table.add_row(
            iso(host.last_at),
            host.folder,
            place(host) or "a request",
            REASONS.get(host.reason, host.reason),
            str(host.times),
        )
    for file in kept.files:
        table.add_row(iso(file.at), file.folder, f"mailbox file {file.name}", "its answer said so", "1")
    for login in kept.logins:
        table.add_row(iso(login.at), login.folder, f"a login, {login.path.name}", login.hint, "1")
    for proof in kept.proofs:
        failed = [f"{check} ({MEANINGS.get(check, 'see the log')})" for check in proof.verdict.failed]
        why = proof.verdict.problem or "; ".join(failed)
        table.add_row(iso(proof.at), proof.folder, f"a sandbox, {proof.sandbox}", why, "1")
    if table.row_count:
        table.show()
    else:
        print("Nothing was refused.")
    if (more := kept.files_in_all - len(kept.files)) > 0:
        say(f"and {more} more mailbox files")
