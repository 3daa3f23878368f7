"""`nanoclaw usage`"""

import json
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from nanoclaw.cli.reading import database
from nanoclaw.cli.showing import Table
from nanoclaw.clock import SystemClock
from nanoclaw.config import Home, load_settings, machine_timezone
from nanoclaw.groups import find_group, load_groups
from nanoclaw.store.usage import Usage, by_day


def usage(
    context: typer.Context,
    folder: Annotated[str | None, typer.Argument(help="Only this group, by folder or jid.")] = None,
    days: Annotated[int, typer.Option(min=1, help="How many days back, today included.")] = 30,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show what the groups' runs cost, by day."""
    home: Home = context.obj
    zone = ZoneInfo(load_settings(home).timezone or machine_timezone())
    today = SystemClock().now().astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    with database(home) as db:
        found = by_day(db, today - timedelta(days=days - 1), zone)
    if folder:
        wanted = find_group(load_groups(home.registered_groups), folder).folder
        found = [usage for usage in found if usage.folder == wanted]
    if as_json:
        print(json.dumps([asdict(usage) for usage in found], indent=2, default=str))
    else:
        _show(found)


def _show(found: list[Usage]) -> None:
    table = Table(box=None)
    table.add_column("day")
    table.add_column("group")
    table.add_column("provider")
    for heading in ("runs", "failed", "minutes", "tokens in", "cached", "tokens out", "US$"):
        table.add_column(heading, justify="right")
    for usage in found:
        cost = "not told" if usage.cost_usd is None else f"{usage.cost_usd:.2f}"
        counts = (usage.input_tokens, usage.cached_input_tokens, usage.output_tokens)
        table.add_row(
            str(usage.day),
            usage.folder,
            usage.provider,
            str(usage.runs),
            str(usage.failed or ""),
            f"{usage.seconds / 60:.1f}",
            *(f"{count:,}" for count in counts),
            cost,
        )
    table.show()
