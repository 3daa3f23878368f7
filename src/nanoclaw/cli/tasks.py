"""`nanoclaw tasks`: what agents do with files, for people; with the authority of `main`."""

import json
from typing import Annotated, Any

import anyio
import typer

from nanoclaw import taskbook
from nanoclaw.cli.reading import database
from nanoclaw.cli.runs import run_json
from nanoclaw.cli.showing import Table, say
from nanoclaw.client import Client
from nanoclaw.config import Home
from nanoclaw.formatting import shorten
from nanoclaw.groups import find_group, load_groups
from nanoclaw.model import ContextMode, MissedPolicy, TaskId, TaskState
from nanoclaw.schedule import ScheduleType, upcoming
from nanoclaw.store import tasks
from nanoclaw.taskview import in_zone, task_json

app = typer.Typer(help="What the agents do by themselves, and when.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="For programs.")]
Id = Annotated[str, typer.Argument(metavar="ID")]
_NEXT_SHOWN = 5
_HISTORY_SHOWN = 20


@app.command("list")
def list_tasks(
    context: typer.Context,
    group: Annotated[str | None, typer.Option(help="Only this group's, by folder or jid.")] = None,
    as_json: Json = False,
) -> None:
    """Show the tasks, the next due first."""
    home: Home = context.obj
    folder = find_group(load_groups(home.registered_groups), group).folder if group else None
    with database(home) as db:
        found = [task_json(task) for task in tasks.existing(db, folder)]
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    table = Table("id", "group", "state", "next", "when", "what", box=None)
    for task in found:
        what = shorten(task["prompt"], 50)
        table.add_row(task["id"], task["groupFolder"], task["status"], task["next_run"] or "", task["schedule"], what)
    table.show()


@app.command()
def show(context: typer.Context, task_id: Id, as_json: Json = False) -> None:
    """Show one task: its next times in its own zone, and what became of its runs."""
    home: Home = context.obj
    with database(home) as db:
        task = taskbook.find(db, TaskId(task_id))
        past = [run_json(run) for run in tasks.history(db, task.id, _HISTORY_SHOWN)]
    coming: list[str | None] = []
    if task.next_at is not None and task.state is TaskState.ACTIVE:
        coming = [in_zone(task, moment) for moment in upcoming(taskbook.schedule_of(task), task.next_at, _NEXT_SHOWN)]
    shown = {**task_json(task), "next_runs": coming, "runs": past}
    if as_json:
        print(json.dumps(shown, indent=2, ensure_ascii=False))
        return
    for key, value in shown.items():
        if key not in ("next_runs", "runs"):
            say(f"{key}: {value}")
    print("next: " + (", ".join(str(moment) for moment in coming) or "never"))
    for run in past:
        print(f"run {run['id']}: {run['state']} {run['started_at'] or ''} {run['failure'] or ''}")


@app.command()
def add(
    context: typer.Context,
    prompt: Annotated[str, typer.Argument(help="What the agent is to do then.")],
    schedule_type: Annotated[ScheduleType, typer.Option("--type", help="How the schedule is given.")],
    value: Annotated[str, typer.Option(help='Five cron fields, milliseconds, or a time like "2026-01-31T09:00".')],
    group: Annotated[str, typer.Option(help="Whose task it is, by folder or jid.")] = "main",
    timezone: Annotated[str | None, typer.Option(help="IANA name; default: the host's.")] = None,
    context_mode: Annotated[ContextMode, typer.Option(help="With the group's session, or fresh.")] = "group",
    missed: Annotated[MissedPolicy, typer.Option(help="What becomes of times when the host was off.")] = "coalesce",
    as_json: Json = False,
) -> None:
    """Schedule a task."""
    command = {
        "type": "schedule_task",
        "prompt": prompt,
        "schedule_type": schedule_type,
        "schedule_value": value,
        "target_group": group,
        "timezone": timezone,
        "context_mode": context_mode,
        "missed": missed,
    }
    _tell(context.obj, command, as_json)


@app.command()
def update(
    context: typer.Context,
    task_id: Id,
    prompt: Annotated[str | None, typer.Option(help="What the agent is to do then.")] = None,
    schedule_type: Annotated[ScheduleType | None, typer.Option("--type", help="How the schedule is given.")] = None,
    value: Annotated[str | None, typer.Option(help="The schedule.")] = None,
    timezone: Annotated[str | None, typer.Option(help="IANA name.")] = None,
    context_mode: Annotated[ContextMode | None, typer.Option(help="With the group's session, or fresh.")] = None,
    missed: Annotated[MissedPolicy | None, typer.Option(help="What becomes of missed times.")] = None,
    as_json: Json = False,
) -> None:
    """Change a task; what is not named stays."""
    command = {
        "type": "update_task",
        "taskId": task_id,
        "prompt": prompt,
        "schedule_type": schedule_type,
        "schedule_value": value,
        "timezone": timezone,
        "context_mode": context_mode,
        "missed": missed,
    }
    _tell(context.obj, command, as_json)


@app.command()
def pause(context: typer.Context, task_id: Id, as_json: Json = False) -> None:
    """Let a task rest."""
    _tell(context.obj, {"type": "pause_task", "taskId": task_id}, as_json)


@app.command()
def resume(context: typer.Context, task_id: Id, as_json: Json = False) -> None:
    """Let a task go on from now."""
    _tell(context.obj, {"type": "resume_task", "taskId": task_id}, as_json)


@app.command()
def cancel(context: typer.Context, task_id: Id, as_json: Json = False) -> None:
    """End a task for good."""
    _tell(context.obj, {"type": "cancel_task", "taskId": task_id}, as_json)


@app.command("run")
def run_now(context: typer.Context, task_id: Id, as_json: Json = False) -> None:
    """Run a task once now."""
    _tell(context.obj, {"type": "run_task", "taskId": task_id}, as_json)


def _tell(home: Home, command: dict[str, Any], as_json: bool) -> None:
    """Give the running host a command and say what it answered."""
    named = {key: value for key, value in command.items() if value is not None}

    async def ask() -> dict[str, Any]:
        async with Client(home) as client:
            return await client.post("/v1/commands", named)

    answer = anyio.run(ask)
    if as_json:
        print(json.dumps(answer, indent=2, ensure_ascii=False))
        return
    print(answer["taskId"] + (f": {answer['schedule']}, next {answer['next_run']}" if answer.get("next_run") else ""))
