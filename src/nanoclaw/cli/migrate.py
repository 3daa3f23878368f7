"""`nanoclaw migrate`"""

from pathlib import Path
from typing import Annotated

import typer

from nanoclaw.clock import SystemClock
from nanoclaw.config import Home, load_settings, machine_timezone
from nanoclaw.errors import UsageError
from nanoclaw.groups import load_groups
from nanoclaw.takeover import Plan, carry_out, make_plan, read_predecessor


def migrate(
    context: typer.Context,
    directory: Annotated[
        Path, typer.Argument(metavar="NANOCLAW_DIR", help="Where NanoClaw lies: data/, groups/, store/.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Take over an existing NanoClaw: groups, memory, sessions, messages and tasks. Nothing is changed there."""
    home: Home = context.obj
    if not directory.is_dir():
        raise UsageError(f"{directory} is no directory", "name the one that has data/, groups/ and store/ in it")
    found = read_predecessor(directory.expanduser().absolute())
    timezone = load_settings(home).timezone or machine_timezone()
    now = SystemClock().now()
    plan = make_plan(found, home, load_groups(home.registered_groups), timezone, now)
    _show(plan, home)
    if dry_run or not (yes or typer.confirm("Do it now? NanoClaw itself should be stopped.")):
        print("Nothing was changed.")
        return
    carry_out(plan, home, now, print)
    print("Taken over. Start the host with `nanoclaw run`; NanoClaw must not run beside it on the same chats.")


def _show(plan: Plan, home: Home) -> None:
    print(f"Into {home.root}:")
    for jid, entry in plan.entries.items():
        print(f"  group     {entry['folder']} ({jid})")
    for copy in plan.copies:
        print(f"  copy      {copy.source} → {copy.target}")
    print(f"  messages  {len(plan.said)}; {len(plan.chats)} chats are known by name")
    for task in plan.tasks:
        print(f"  task      {task.id} of {task.folder}: {task.schedule_type} {task.schedule_value} ({task.timezone})")
    print(f"  sessions  {', '.join(plan.sessions) or 'none'}")
    print(f"  keys      {', '.join(plan.secrets) or 'none'}, into .env where there are none yet")
    for note in plan.notes:
        print(f"  note      {note}")
