"""What agents may ask for: a model for each verb, and the table of who may use it.

To add a verb: a model, its row in `VERBS`, and what it does in `nanoclaw.verbs`. A field's description says what is
right; agents are shown it when they got it wrong.
"""

import re
from typing import Annotated, Any, ClassVar, Final, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from nanoclaw.model import ContextMode, Folder, Jid, MissedPolicy, TaskId
from nanoclaw.providers import ProviderName
from nanoclaw.schedule import ScheduleType
from nanoclaw.wire import GROUP_DIRECTORY

MAX_TEXT_BYTES: Final = 64 << 10
"""Longest text of a message, in UTF-8; WhatsApp takes no more than 65,536 characters."""
MAX_PROMPT_BYTES: Final = 16 << 10
"""Longest prompt of a task."""
MAX_JID_CHARACTERS: Final = 256
MAX_FILES: Final = 16
"""Of one message."""
MAX_PATH_CHARACTERS: Final = 1024

CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and line feed: a terminal would obey them


def _cleaned(text: str, limit: int) -> str:
    cleaned = CONTROLS.sub("", text)
    if not cleaned.strip():
        raise ValueError(_EMPTY)
    if len(cleaned.encode()) > limit:
        raise ValueError(f"is longer than {limit >> 10} KiB; send it in parts or send a summary")
    return cleaned


_EMPTY: Final = "is empty; say something or write no file"


def _message_text(text: str) -> str:
    return _cleaned(text, MAX_TEXT_BYTES) if text.strip() else ""


def _agents_path(path: str) -> str:
    if not path.startswith("/") or len(path) > MAX_PATH_CHARACTERS or "\0" in path:
        raise ValueError(f"must name files like {GROUP_DIRECTORY}/report.pdf")
    return path


def _prompt(text: str) -> str:
    return _cleaned(text, MAX_PROMPT_BYTES)


def _chat(jid: str) -> Jid:
    if not jid.strip() or len(jid) > MAX_JID_CHARACTERS or not jid.isprintable():
        raise ValueError("is no address of a chat; leave it out to write to your own chat")
    return Jid(jid)


def _short(text: str) -> str:
    if not text.strip() or len(text) > MAX_JID_CHARACTERS or not text.isprintable():
        raise ValueError(f"must be one line of 1 to {MAX_JID_CHARACTERS} characters")
    return text


ShortText = Annotated[str, AfterValidator(_short)]


class Command(BaseModel):
    """What every file says. Unknown fields are ignored.

    The `claimed_…` fields are what NanoClaw's agents say about themselves. Nobody believes them: see `authority`.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)
    verb: ClassVar[str]
    """What `type` says."""
    example: ClassVar[str]
    """A file that is right, for answers and for people."""

    claimed_folder: Any = Field(default=None, alias="groupFolder", repr=False)
    claimed_author: Any = Field(default=None, alias="createdBy", repr=False)
    claimed_main: Any = Field(default=None, alias="isMain", repr=False)

    def concerns_another(self, folder: Folder, own_chat: Jid) -> bool:
        """Whether it names anything that is not the group's own. Whose a task is, only the database knows."""
        return False


class SendMessage(Command):
    """Say something in a chat."""

    verb = "message"
    example = '{"type": "message", "text": "The report is ready."}'

    text: Annotated[str, AfterValidator(_message_text)] = Field(default="", description="a string: what to say")
    files: list[Annotated[str, AfterValidator(_agents_path)]] = Field(
        default=[],
        description=f'a list of at most {MAX_FILES} paths like ["{GROUP_DIRECTORY}/report.pdf"]: files to send',
        max_length=MAX_FILES,
    )
    chat: Annotated[Jid, AfterValidator(_chat)] | None = Field(
        default=None, alias="chatJid", description="a string: the chat's address; without it, your own chat"
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.text and not self.files:
            given = "text" in self.model_fields_set
            raise ValueError(f"`text` {_EMPTY if given else 'is missing; it is a string: what to say'}")
        return self

    def concerns_another(self, folder: Folder, own_chat: Jid) -> bool:
        """Whether the message is for another chat."""
        return self.chat is not None and self.chat != own_chat


class ScheduleTask(Command):
    """Have the agent do something later, or again and again."""

    verb = "schedule_task"
    example = (
        '{"type": "schedule_task", "prompt": "Remind everybody of the meeting.",'
        ' "schedule_type": "cron", "schedule_value": "0 9 * * 1"}'
    )

    prompt: Annotated[str, AfterValidator(_prompt)] = Field(description="a string: what the agent is to do then")
    schedule_type: ScheduleType = Field(description='"cron", "interval" or "once"')
    schedule_value: ShortText = Field(
        description='a string: for cron five fields like "0 9 * * 1", for interval milliseconds like "3600000",'
        ' for once a local time like "2026-01-31T09:00:00"'
    )
    context_mode: ContextMode = Field(
        default="group", description='"group" (with this group\'s session and memory) or "isolated" (fresh)'
    )
    timezone: ShortText | None = Field(
        default=None, description='a string: an IANA time zone like "Europe/Berlin"; without it, the host\'s'
    )
    missed: MissedPolicy = Field(
        default="coalesce", description='what to do about times when the host was off: "coalesce", "skip" or "all"'
    )
    target_group: ShortText | None = Field(
        default=None, description="a string, for main only: the folder or chat of the group that the task is for"
    )
    target_jid: ShortText | None = Field(default=None, alias="targetJid", description="a string: as target_group")

    @property
    def target(self) -> str | None:
        """The group that it is for, by folder or jid; None: the sender's own."""
        return self.target_group or self.target_jid

    def concerns_another(self, folder: Folder, own_chat: Jid) -> bool:
        """Whether the task is for another group."""
        return self.target not in (None, folder, own_chat)


class TaskCommand(Command):
    """Something about a task that exists."""

    task_id: Annotated[TaskId, AfterValidator(_short)] = Field(
        alias="taskId", description="a string: the task's id, as current_tasks.json shows it"
    )


class PauseTask(TaskCommand):
    """Let a task rest until it is resumed."""

    verb = "pause_task"
    example = '{"type": "pause_task", "taskId": "task-1a2b3c4d"}'


class ResumeTask(TaskCommand):
    """Let a paused task go on; its next time is computed from now."""

    verb = "resume_task"
    example = '{"type": "resume_task", "taskId": "task-1a2b3c4d"}'


class CancelTask(TaskCommand):
    """End a task for good."""

    verb = "cancel_task"
    example = '{"type": "cancel_task", "taskId": "task-1a2b3c4d"}'


class RunTask(TaskCommand):
    """Run a task once now, whatever its schedule says."""

    verb = "run_task"
    example = '{"type": "run_task", "taskId": "task-1a2b3c4d"}'


class UpdateTask(TaskCommand):
    """Change a task; what is not named stays, and its next time is computed anew."""

    verb = "update_task"
    example = '{"type": "update_task", "taskId": "task-1a2b3c4d", "schedule_value": "0 10 * * 1"}'

    prompt: Annotated[str, AfterValidator(_prompt)] | None = Field(
        default=None, description="a string: what the agent is to do then"
    )
    schedule_type: ScheduleType | None = Field(default=None, description='"cron", "interval" or "once"')
    schedule_value: ShortText | None = Field(default=None, description="a string: see schedule_task")
    context_mode: ContextMode | None = Field(default=None, description='"group" or "isolated"')
    timezone: ShortText | None = Field(default=None, description='a string: an IANA time zone like "Europe/Berlin"')
    missed: MissedPolicy | None = Field(default=None, description='"coalesce", "skip" or "all"')


class GroupSettings(Command):
    """What a group may be given when it is registered, and later."""

    requires_trigger: bool | None = Field(default=None, alias="requiresTrigger", description="true or false")
    provider: ProviderName | None = Field(default=None, description='"claude" or "codex"')
    provider_config: dict[str, Any] | None = Field(
        default=None, alias="providerConfig", description='an object like {"codex": {"approvalPolicy": "auto"}}'
    )
    senders: dict[str, Any] | None = Field(
        default=None, description='an object like {"policy": "allowlist", "allow": ["4915112345678"]}'
    )
    network: dict[str, Any] | None = Field(
        default=None, description='an object like {"policy": "allowlist", "allow": ["example.com"]}'
    )
    container_config: dict[str, Any] | None = Field(
        default=None, alias="containerConfig", description='an object like {"timeout": 600000}'
    )


class RegisterGroup(GroupSettings):
    """Register a chat as a group."""

    verb = "register_group"
    example = (
        '{"type": "register_group", "jid": "120363000000000000@g.us", "name": "Family", "folder": "family",'
        ' "trigger": "@Andy"}'
    )

    jid: Annotated[Jid, AfterValidator(_chat)] = Field(description="a string: the chat's address")
    name: ShortText = Field(description="a string: how people call the group")
    folder: ShortText = Field(description="a string of letters, digits, - and _: its directory")
    trigger: ShortText = Field(description='a string: what a message must begin with, e.g. "@Andy"')


class UpdateGroup(GroupSettings):
    """Change a registered group; what is not named stays."""

    verb = "update_group"
    example = '{"type": "update_group", "folder": "family", "provider": "codex"}'

    folder: ShortText = Field(description="a string: the group's folder or its chat's address")
    name: ShortText | None = Field(default=None, description="a string: how people call the group")
    trigger: ShortText | None = Field(default=None, description="a string: what a message must begin with")


class UnregisterGroup(Command):
    """Take a chat off the list; its files, memory and messages stay."""

    verb = "unregister_group"
    example = '{"type": "unregister_group", "folder": "family"}'

    folder: ShortText = Field(description="a string: the group's folder or its chat's address")


class RefreshGroups(Command):
    """Bring available_groups.json up to date."""

    verb = "refresh_groups"
    example = '{"type": "refresh_groups"}'


class Verb(NamedTuple):
    """A row of `VERBS`: what may be said, and who may say it."""

    model: type[Command]
    own: bool
    """A group about its own chat and its own tasks."""
    other: bool
    """A group about another group's."""
    main: bool
    """`main` about anything."""


VERBS: Final[dict[str, Verb]] = {
    SendMessage.verb: Verb(SendMessage, own=True, other=False, main=True),
    ScheduleTask.verb: Verb(ScheduleTask, own=True, other=False, main=True),
    UpdateTask.verb: Verb(UpdateTask, own=True, other=False, main=True),
    PauseTask.verb: Verb(PauseTask, own=True, other=False, main=True),
    ResumeTask.verb: Verb(ResumeTask, own=True, other=False, main=True),
    CancelTask.verb: Verb(CancelTask, own=True, other=False, main=True),
    RunTask.verb: Verb(RunTask, own=True, other=False, main=True),
    RegisterGroup.verb: Verb(RegisterGroup, own=False, other=False, main=True),
    UpdateGroup.verb: Verb(UpdateGroup, own=False, other=False, main=True),
    UnregisterGroup.verb: Verb(UnregisterGroup, own=False, other=False, main=True),
    RefreshGroups.verb: Verb(RefreshGroups, own=False, other=False, main=True),
}
