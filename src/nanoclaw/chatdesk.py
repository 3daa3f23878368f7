"""Answers the commands that people write into a chat; see `chatcommands` for which there are.

The command and its answer are stored in one transaction, so a second delivery of the message does nothing twice. What
changes the groups' file goes the way of the owner's other changes, under a key that works once.
"""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any, Final
from zoneinfo import ZoneInfo

import anyio.to_thread

from nanoclaw import taskbook
from nanoclaw.chatcommands import ChatCommand, help_text, may_use, parse_command
from nanoclaw.config import machine_timezone
from nanoclaw.errors import NanoclawError
from nanoclaw.formatting import shorten, spoken_time
from nanoclaw.groups import find_group
from nanoclaw.ipc.commands import UpdateGroup
from nanoclaw.model import InboundMessage, OutboxItem, RegisteredGroup, Run, ScheduledTask, Standing, TaskState
from nanoclaw.providers import PROVIDERS
from nanoclaw.runlog import activities
from nanoclaw.schedule import in_words
from nanoclaw.services import Services
from nanoclaw.store import endings, messages, outbox, runs, tasks, waiting, wakers
from nanoclaw.store.database import Connection

_TASKS: Final = 20
_STEPS: Final = 8
_PROMPT: Final = 80

Answer = Callable[[Connection], str]
"""Does what is to be done in the transaction that stores the command, and says it."""


class ChatDesk:
    """The host's own voice in the chats."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._zone = ZoneInfo(services.settings.timezone or machine_timezone())

    async def take(self, message: InboundMessage, group: RegisteredGroup, standing: Standing) -> bool:
        """Whether the message is a command of somebody who may give it; if so, it is stored and answered.

        Raises:
            StoreError: it could not be stored; it must come again.
        """
        command = parse_command(message.text, group.trigger)
        if command is None or not may_use(command, standing):
            return False
        answer = await self._prepared(command, message, group, standing)
        await self._services.database.write(self._store, message, group, standing, answer)
        pulses = self._services.pulses
        for pulse in (pulses.outbox, pulses.stops, pulses.runs):
            pulse.fire()
        return True

    def _store(
        self, db: Connection, message: InboundMessage, group: RegisteredGroup, standing: Standing, answer: Answer
    ) -> None:
        now = self._services.clock.now()
        messages.note_chat(db, message.chat, message.channel, message.chat_name, message.sent_at)
        stored = messages.insert(db, message, now, standing, command=True)
        if stored.new and not stored.withdrawn:
            outbox.put_answer(db, stored.seq, group.jid, answer(db), now)

    async def _prepared(
        self, command: ChatCommand, message: InboundMessage, group: RegisteredGroup, standing: Standing
    ) -> Answer:
        """What can be done only outside of the transaction is done here."""
        if command.problem:
            return lambda _db: command.problem
        match command.name:
            case "status":
                return partial(self._status, group)
            case "stop":
                return partial(self._stop, group, command.argument == "all")
            case "retry":
                return partial(self._retry, group)
            case "why":
                return await self._why(message, group)
            case "tasks":
                return partial(_tasks, group)
            case "provider" | "level":
                told = await self._change(command, message, group)
                return lambda _db: told
            case _:
                return lambda _db: help_text(standing)

    def _status(self, group: RegisteredGroup, db: Connection) -> str:
        run = runs.running(db, group.folder)
        lines = [f"I think with {PROVIDERS[group.provider].title} here, at the level {group.approval_policy}."]
        if run is not None and run.started_at is not None:
            seconds = (self._services.clock.now() - run.started_at).total_seconds()
            lines.append(f"I have been at work for {seconds:.0f} s (run {run.id}).")
        else:
            lines.append("I am waiting for a message.")
        queued = runs.waiting_count(db, group.folder)
        if queued:
            lines.append(f"{queued} more to do after that." if run else f"{queued} to do, about to begin.")
        last = next(iter(runs.recent(db, 1, group.folder)), None)
        if last is not None and last.failure:
            lines.append(f"The last answer failed: {last.failure.replace('_', ' ')}. `/retry` tries it again.")
        return "\n".join(lines)

    def _stop(self, group: RegisteredGroup, queue_too: bool, db: Connection) -> str:
        ended, forgotten = endings.stop(db, group.folder, group.jid, self._services.clock.now(), queue_too=queue_too)
        said = "Stopped." if ended else "I was not at work."
        return f"{said} What was waiting is forgotten too." if forgotten else said

    def _retry(self, group: RegisteredGroup, db: Connection) -> str:
        if runs.running(db, group.folder):
            return "I am at work already."
        if not waiting.is_unanswered(db, group.folder, group.jid):
            return "There is nothing that I have not answered."
        runs.queue_at_once(db, group.folder, group.jid, self._services.clock.now())
        return "I try again."

    async def _change(self, command: ChatCommand, message: InboundMessage, group: RegisteredGroup) -> str:
        settings: dict[str, Any] = {"provider": command.argument}
        if command.name == "level":
            settings = {"providerConfig": {group.provider: {"approvalPolicy": command.argument}}}
        update = UpdateGroup.model_validate({"folder": group.folder, **settings})
        key = f"command/{message.account}/{message.chat}/{message.sender}/{message.ext_id}"
        try:
            await self._services.verbs.apply_for_owner(key, update)
        except NanoclawError as error:
            return f"That did not work: {error}"
        changed = find_group(self._services.groups.groups, group.jid)
        title = PROVIDERS[changed.provider].title
        return f"From the next message on {title} thinks here, at the level {changed.approval_policy}."

    async def _why(self, message: InboundMessage, group: RegisteredGroup) -> Answer:
        quoted = message.quote.ext_id if message.quote else None
        found = await self._services.database.read(_explained, group, quoted)
        if found is None:
            return lambda _db: "I do not know that message of mine; write /why as an answer to one."
        item, run = found
        logs = self._services.home.run_logs(group.folder)
        done = await anyio.to_thread.run_sync(activities, logs, run.id, _STEPS) if run else []
        return partial(self._explain, item, run, done)

    def _explain(self, item: OutboxItem, run: Run | None, done: list[str], db: Connection) -> str:
        lines: list[str] = []
        if run is not None:
            lines += self._origin(run, db)
            lines += [f"- {step}" for step in done]
            lines.append(_cost(run))
        elif item.kind == "notice":
            lines.append("The host itself said that; no agent was asked.")
        went = [f"{state} {self._when(at)}" for state, at in outbox.progress(db, item).items()]
        sent = [f"sent {self._when(item.sent_at)}"] if item.sent_at else [item.state.value]
        lines.append(", ".join([*sent, *went]))
        return "\n".join(line for line in lines if line)

    def _when(self, instant: datetime) -> str:
        return spoken_time(instant, self._zone, seconds=True)

    def _origin(self, run: Run, db: Connection) -> list[str]:
        if run.task_id is not None:
            cause = f"the task {run.task_id}"
        else:
            first = wakers.first(db, run)
            cause = f"what {first.sender_name} wrote" if first else "your messages"
            if first:
                cause += f", received {self._when(first.received_at)}"
        began = self._when(run.started_at) if run.started_at else "never"
        thinker = PROVIDERS[run.provider].title if run.provider in PROVIDERS else "nobody"
        return [f"It came of {cause}.", f"Run {run.id}, with {thinker}, began {began}, attempt {run.attempt}."]


def _cost(run: Run) -> str:
    seconds = f"{(run.ended_at - run.started_at).total_seconds():.1f} s, " if run.ended_at and run.started_at else ""
    usage = run.usage
    money = f", US$ {usage.cost_usd:.4f}" if usage.cost_usd is not None else ""
    tokens = f"{usage.input_tokens} tokens in ({usage.cached_input_tokens} cached), {usage.output_tokens} out"
    return f"{seconds}{tokens}{money}"


def _explained(db: Connection, group: RegisteredGroup, platform_id: str | None) -> tuple[OutboxItem, Run | None] | None:
    item = outbox.by_platform_id(db, group.jid, platform_id) if platform_id else outbox.last_answer(db, group.jid)
    if item is None:
        return None
    return item, runs.get(db, item.run_id) if item.run_id is not None else None


def _tasks(group: RegisteredGroup, db: Connection) -> str:
    found = [task for task in tasks.existing(db, group.folder) if task.state in (TaskState.ACTIVE, TaskState.PAUSED)]
    if not found:
        return "I do nothing here by myself. Ask me to, and say when."
    lines = [_task(task) for task in found[:_TASKS]]
    more = len(found) - _TASKS
    return "\n".join([*lines, *([f"and {more} more"] if more > 0 else [])])


def _task(task: ScheduledTask) -> str:
    if task.state is TaskState.ACTIVE and task.next_at is not None:
        due = f"next {spoken_time(task.next_at, ZoneInfo(task.timezone))}"
    else:
        due = "paused"
    return f"- {in_words(taskbook.schedule_of(task))}: {shorten(task.prompt, _PROMPT)}; {due}"
