"""Tasks: what the agents do by themselves, when next, and what came of it."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nanoclaw import taskbook
from nanoclaw.errors import NotFoundError
from nanoclaw.model import Run, ScheduledTask, TaskId, TaskState
from nanoclaw.schedule import upcoming
from nanoclaw.store import tasks
from nanoclaw.store.database import Connection
from nanoclaw.taskview import task_json
from nanoclaw.web.context import Context, rendered, see
from nanoclaw.web.forms import read_form

_NEXT: Final = 5
_RUNS: Final = 30
_ACTIONS: Final = {
    "pause": "pause_task",
    "resume": "resume_task",
    "cancel": "cancel_task",
    "run": "run_task",
}
_FIELDS: Final = ("prompt", "schedule_type", "schedule_value", "timezone", "context_mode", "missed", "target_group")


def task_routes(context: Context) -> list[Route]:
    """`/tasks` and what is below it."""
    services = context.services

    async def all_tasks(request: Request) -> Response:
        found = await services.database.read(tasks.existing)
        values = {
            "tasks": [(task, task_json(task)) for task in found],
            "groups": list(services.groups.groups.values()),
            "zone": context.zone,
        }
        return rendered(request, "tasks.html", values)

    async def one(request: Request) -> Response:
        task, past = await services.database.read(_task, TaskId(request.path_params["task_id"]))
        coming = upcoming(taskbook.schedule_of(task), task.next_at, _NEXT) if _is_due(task) and task.next_at else []
        values = {"task": task, "shown": task_json(task), "coming": coming, "runs": past, "zone": context.zone}
        return rendered(request, "task.html", values)

    async def add(request: Request) -> Response:
        answer = await context.tell({"type": "schedule_task", **await _fields(request)})
        return see(f"/tasks/{answer['taskId']}")

    async def act(request: Request) -> Response:
        task_id, action = request.path_params["task_id"], request.path_params["action"]
        if action not in _ACTIONS:
            raise NotFoundError(f"nothing is called {action} here", f"there are {', '.join(_ACTIONS)}")
        await context.tell({"type": _ACTIONS[action], "taskId": task_id})
        return see(f"/tasks/{task_id}")

    async def change(request: Request) -> Response:
        task_id = request.path_params["task_id"]
        await context.tell({"type": "update_task", **await _fields(request), "taskId": task_id})
        return see(f"/tasks/{task_id}")

    return [
        Route("/tasks", all_tasks),
        Route("/tasks", add, methods=["POST"]),
        Route("/tasks/{task_id}", one),
        Route("/tasks/{task_id}", change, methods=["POST"]),
        Route("/tasks/{task_id}/{action}", act, methods=["POST"]),
    ]


def _is_due(task: ScheduledTask) -> bool:
    return task.state is TaskState.ACTIVE


def _task(db: Connection, task_id: TaskId) -> tuple[ScheduledTask, list[Run]]:
    task = tasks.get(db, task_id)
    if task is None:
        raise NotFoundError(f"there is no task {task_id}", "see the list of tasks")
    return task, tasks.history(db, task_id, _RUNS)


async def _fields(request: Request) -> dict[str, str]:
    form = await read_form(request)
    return {name: form[name] for name in _FIELDS if form.get(name)}
