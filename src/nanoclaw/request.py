"""Builds the `ContainerInput` of an attempt from what the database knows."""

from typing import cast
from zoneinfo import ZoneInfo

from nanoclaw.config import Settings
from nanoclaw.credentials import Credential
from nanoclaw.model import OutboxItem, RegisteredGroup, Run, ScheduledTask
from nanoclaw.prompts import images_of, messages_prompt, task_prompt
from nanoclaw.providers import PROVIDERS
from nanoclaw.schedule import LATE
from nanoclaw.store import messages, outbox, runs, tasks
from nanoclaw.store.database import Connection
from nanoclaw.wire import PROTOCOL, ContainerInput


def build_request(
    db: Connection,
    run: Run,
    group: RegisteredGroup,
    credential: Credential,
    settings: Settings,
    zone: ZoneInfo,
    channel: str,
) -> ContainerInput:
    """Everything the runner needs. A message that arrives later belongs to the next run.

    Args:
        db: the database.
        run: as claimed; answers after_seq < seq <= upto_seq.
        group: decides the provider.
        credential: how the agent's CLI signs in.
        settings: names and limits.
        zone: in which times are told.
        channel: how people call the platform.
    """
    task = tasks.get(db, run.task_id) if run.task_id is not None else None
    request = _request(run, group, credential, settings, zone, channel)
    _add_prompt(db, request, run, task, settings, zone)
    if task is None or task.context_mode == "group":
        _add_context(db, request, run, group, settings)
    if task is not None and "sessionId" in request:
        _add_changes(db, request, run, zone)
    if run.attempt > 1:
        said = outbox.of_run(db, run.id)
        request["effects"] = [f"sent to {item.chat}: {_said(item)}" for item in said if item.kind == "message"]
    return request


def _request(
    run: Run, group: RegisteredGroup, credential: Credential, settings: Settings, zone: ZoneInfo, channel: str
) -> ContainerInput:
    """Without what the database knows."""
    request = ContainerInput(
        protocol=PROTOCOL,
        runId=run.id,
        attempt=run.attempt,
        prompt="",
        groupFolder=group.folder,
        groupName=group.name,
        chatJid=run.chat,
        isMain=group.is_main,
        isScheduledTask=run.task_id is not None,
        assistantName=settings.assistant_name,
        channel=channel,
        timezone=zone.key,
        provider=group.provider,
        providerConfig=cast("dict[str, object]", group.raw.get("providerConfig", {})),
        approvalPolicy=group.approval_policy,
        model=group.model,
        credential=credential.method,
        timeoutSeconds=timeout_seconds(group, settings),
    )
    if credential.at_gateway:
        request["credentialAtGateway"] = True
    if credential.secret is not None:
        request["secret"] = credential.secret
    return request


def _add_prompt(
    db: Connection, request: ContainerInput, run: Run, task: ScheduledTask | None, settings: Settings, zone: ZoneInfo
) -> None:
    if task is not None and run.scheduled_for is not None:
        request["prompt"] = task_prompt(task, run.scheduled_for, ZoneInfo(task.timezone), late=is_late(run))
        return
    taken, omitted = messages.between(db, run.chat, run.after_seq, run.upto_seq, settings.runs.prompt_messages)
    request["prompt"] = messages_prompt(taken, zone, omitted, messages.changes(db, run))
    if images := images_of(taken):
        request["images"] = images


def _add_context(db: Connection, request: ContainerInput, run: Run, group: RegisteredGroup, settings: Settings) -> None:
    session = runs.session(db, group.folder, group.provider)
    if session and PROVIDERS[group.provider].resumes:
        request["sessionId"] = session
    else:
        upto = run.after_seq if run.task_id is None else run.upto_seq
        request["history"] = messages.exchanges(db, run.chat, upto, settings.runs.history_messages)


def _add_changes(db: Connection, request: ContainerInput, run: Run, zone: ZoneInfo) -> None:
    """A task's session remembers what people wrote as it was then."""
    if changes := messages.changes(db, run):
        request["prompt"] = f"{messages_prompt((), zone, changes=changes)}\n{request['prompt']}"


def _said(item: OutboxItem) -> str:
    return " ".join([*(f"[{file.name}]" for file in item.files), *([item.text] if item.text else [])])


def is_late(run: Run) -> bool:
    """Whether a task's run was queued long after its moment, as the host was away then."""
    return run.scheduled_for is not None and run.created_at - run.scheduled_for > LATE


def timeout_seconds(group: RegisteredGroup, settings: Settings) -> float:
    """How long one attempt may take."""
    return group.timeout_ms / 1000 if group.timeout_ms else settings.runs.timeout_seconds
