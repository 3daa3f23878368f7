"""What an agent can ask the host for: one table, from which the shell command and Claude's tools are made.

The host has its own (`nanoclaw.ipc.commands`) and decides by that; a test holds the two together. Only data: it is
imported at every call.
"""

from typing import Final, NamedTuple


class Field(NamedTuple):
    """One field of a request, by the name that the host reads."""

    name: str
    help: str
    choices: tuple[str, ...] = ()
    kind: str = "string"
    """As JSON Schema says it."""
    main: bool = False
    """Only main's is taken."""


class Verb(NamedTuple):
    """One thing that can be asked."""

    tool: str
    """Its name among Claude's tools."""
    command: str
    """The words after `nanoclaw-ipc`."""
    help: str
    example: str
    """What may follow those words."""
    argument: Field | None = None
    """In the command it stands without a name."""
    required: tuple[Field, ...] = ()
    optional: tuple[Field, ...] = ()
    main: bool = False
    """Only main is heard."""
    shows: str = ""
    """The file of the mailbox that is the answer; without one, the host is asked."""
    argument_optional: bool = False
    """Whether a request may do without its argument."""

    @property
    def type(self) -> str:
        """What a request says in `type`."""
        return "message" if self is SEND else self.tool

    @property
    def directory(self) -> str:
        """Where in the mailbox a request goes."""
        return "messages" if self is SEND else "tasks"

    @property
    def needed(self) -> tuple[Field, ...]:
        """The fields that every request has."""
        return ((self.argument,) if self.argument and not self.argument_optional else ()) + self.required

    @property
    def fields(self) -> tuple[Field, ...]:
        """All fields."""
        return ((self.argument,) if self.argument else ()) + self.required + self.optional


_TASK_ID: Final = Field("taskId", "the task's id, as the list of tasks shows it")
_PROMPT: Final = Field("prompt", "what you are to do then, complete in itself: it is all that will be said")
_TYPE: Final = Field("schedule_type", "how often", ("cron", "interval", "once"))
_VALUE: Final = Field(
    "schedule_value",
    'cron: five fields like "0 9 * * 1"; interval: milliseconds like "3600000";'
    ' once: a local time like "2026-01-31T09:00:00"',
)
_CONTEXT: Final = Field(
    "context_mode", "whether the task knows this chat (group) or only its prompt (isolated)", ("group", "isolated")
)
_TIMEZONE: Final = Field("timezone", 'the time zone of the schedule like "Europe/Berlin"; without it, the host\'s')
_MISSED: Final = Field(
    "missed",
    "what to do about times when the host was off: once, late (coalesce, the default), nothing (skip), or each (all)",
    ("coalesce", "skip", "all"),
)
_FOLDER: Final = Field("folder", "the group's folder")
_NAME: Final = Field("name", "how people call the group")
_TRIGGER: Final = Field("trigger", 'what a message must begin with, for example "@Andy"')
_SETTINGS: Final = (
    Field("requiresTrigger", "whether a message must begin so", kind="boolean"),
    Field("provider", "who answers", ("claude", "codex")),
    Field(
        "providerConfig",
        'for example {"codex": {"approvalPolicy": "auto", "authMethod": "chatgpt"}}; takes the place of the old one',
        kind="object",
    ),
    Field(
        "senders",
        'who may wake the agent, for example {"policy": "allowlist", "allow": ["4915112345678"]}',
        kind="object",
    ),
    Field("network", 'which hosts it may reach, for example {"allow": ["example.com"]}', kind="object"),
    Field("containerConfig", 'for example {"timeout": 600000}; takes the place of the old one', kind="object"),
)

SEND: Final = Verb(
    "send_message",
    "send",
    "Send a message, files or both to the chat now, before your final answer.",
    '"Found it, one more minute."',
    Field("text", "what to say"),
    optional=(
        Field("files", "files to send, by their paths below /workspace/group", kind="array"),
        Field("chatJid", "another chat than this group's own", main=True),
    ),
    argument_optional=True,
)

VERBS: Final = (
    SEND,
    Verb(
        "schedule_task",
        "schedule",
        "Do something later, or again and again. Answers the task with its id and its next time.",
        '"Remind everybody to put the bins out." --cron "0 19 * * 1"',
        _PROMPT,
        (_TYPE, _VALUE),
        (_CONTEXT, _TIMEZONE, _MISSED, Field("target_group", "the folder of the group that it is for", main=True)),
    ),
    Verb("list_tasks", "tasks", "Show the tasks that exist.", "", shows="current_tasks.json"),
    Verb("pause_task", "pause", "Let a task rest until it is resumed.", "task-1a2b3c4d", _TASK_ID),
    Verb("resume_task", "resume", "Let a paused task go on.", "task-1a2b3c4d", _TASK_ID),
    Verb("cancel_task", "cancel", "End a task for good.", "task-1a2b3c4d", _TASK_ID),
    Verb(
        "update_task",
        "update",
        "Change a task; what is not named stays.",
        'task-1a2b3c4d --at "2026-01-31T09:00"',
        _TASK_ID,
        optional=(_PROMPT, _TYPE, _VALUE, _CONTEXT, _TIMEZONE, _MISSED),
    ),
    Verb("run_task", "run", "Run a task once now, whatever its schedule says.", "task-1a2b3c4d", _TASK_ID),
    Verb(
        "list_groups",
        "groups list",
        "Show the chats that are known, and which of them are registered.",
        "",
        main=True,
        shows="available_groups.json",
    ),
    Verb(
        "register_group",
        "groups register",
        "Register a chat as a group.",
        '--jid 120363000000000000@g.us --name Family --folder family --trigger "@Andy"',
        required=(
            Field("jid", "the chat's address"),
            _NAME,
            Field("folder", "its directory: letters, digits, - and _"),
            _TRIGGER,
        ),
        optional=_SETTINGS,
        main=True,
    ),
    Verb(
        "update_group",
        "groups set",
        "Change a group; what is not named stays.",
        "family --provider codex",
        _FOLDER,
        optional=(_NAME, _TRIGGER, *_SETTINGS),
        main=True,
    ),
    Verb(
        "unregister_group",
        "groups remove",
        "Take a chat off the list; its files, memory and messages stay.",
        "family",
        _FOLDER,
        main=True,
    ),
    Verb("refresh_groups", "groups refresh", "Bring the list of known chats up to date.", "", main=True),
)
