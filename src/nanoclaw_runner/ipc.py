"""`nanoclaw-ipc` in a shell: from words to a request, and from the host's answer to lines that can be read."""

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from nanoclaw_runner.mailbox import NoAnswerError, ask
from nanoclaw_runner.verbs import VERBS, Field, Verb

_DESCRIPTION = "Ask the host for something and print its answer."
_EXIT_STATUS = """\
exit status: 0 done; 1 refused, and the answer says what to correct; 2 wrong usage;
3 no answer in time: it may still be done, so look before you ask again"""
_SHOWN_CHARACTERS: Final = 300  # of a task's prompt; --json shows all
_MILLISECONDS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_FLAGS: Final = {
    "chatJid": "--chat",
    "files": "--file",
    "target_group": "--group",
    "requiresTrigger": "--requires-trigger",
    "containerConfig": "--container-config",
}
"""Where they are not `--` and the field's name."""


def main() -> NoReturn:
    """The command; exits with the status that its help tells."""
    verb, fields, raw = understand(sys.argv[1:])
    try:
        answer = ask(verb, fields)
    except NoAnswerError as error:
        sys.stderr.write(f"nanoclaw-ipc: {error}\n")
        sys.exit(3)
    except OSError as error:
        sys.exit(f"nanoclaw-ipc: {error}" + ("; only the main group has it" if verb.main else ""))
    done = bool(verb.shows) or answer.get("ok") is True
    sys.stdout.write((json.dumps(answer, ensure_ascii=False) if raw else told(verb, answer)) + "\n")
    sys.exit(0 if done else 1)


def understand(arguments: Sequence[str]) -> tuple[Verb, dict[str, Any], bool]:
    """Which verb is meant, the fields of its request, and whether the answer is wanted as it comes.

    Exits with a word on what is right when they cannot be understood.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    given = vars(options)
    verb: Verb = options.verb
    fields = {field.name: given[field.name] for field in verb.fields if field.name in given}
    if verb.argument_optional and not fields.keys() & {"text", "files"}:
        parser.error("say something, or name a --file")
    config = {name: given[name] for name in ("approvalPolicy", "authMethod") if name in given}
    if config and "provider" not in fields:
        parser.error("--approval-policy and --auth-method need --provider")
    if config:
        fields["providerConfig"] = {fields["provider"]: config}
    return verb, fields, options.json


def told(verb: Verb, answer: Any) -> str:  # noqa: ANN401  # the host's JSON
    """An answer for somebody who reads."""
    if verb.tool == "list_tasks":
        return "\n".join(_task(task) for task in answer) or "There are no tasks."
    if verb.tool == "list_groups":
        return "\n".join(_group(group) for group in answer["groups"]) or "No chats are known yet."
    if answer.get("ok") is not True:
        return f"refused: {answer.get('error')}"
    if "schedule" in answer:
        return _task(answer)
    return " ".join(["done", *(f"{name}={value}" for name, value in answer.items() if name != "ok")])


def _task(task: dict[str, Any]) -> str:
    following = f"; next {task['next_run']}" if task["next_run"] else ""
    failures = f"; failed {task['failures']} times in a row" if task["failures"] else ""
    prompt = " ".join(task["prompt"].split())
    shown = prompt if len(prompt) <= _SHOWN_CHARACTERS else f"{prompt[:_SHOWN_CHARACTERS]}…"
    head = f"{task['id']} {task['status']}: {task['schedule']}{following}{failures}"
    return f"{head}; group {task['groupFolder']}, context {task['context_mode']}\n    {shown}"


def _group(group: dict[str, Any]) -> str:
    registered = "registered" if group["isRegistered"] else "not registered"
    return f"{group['jid']}: {group['name']} ({group['channel']}, {registered}, last active {group['lastActivity']})"


def _parser() -> argparse.ArgumentParser:
    examples = "\n".join(f"  nanoclaw-ipc {verb.command} {verb.example}".rstrip() for verb in VERBS)
    parser = argparse.ArgumentParser(
        prog="nanoclaw-ipc",
        description=_DESCRIPTION,
        epilog=f"examples:\n{examples}\n\n{_EXIT_STATUS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    groups = verbs.add_parser("groups", help="for the main group only", description="For the main group only.")
    below = {"groups": groups.add_subparsers(metavar="VERB", required=True)}
    for verb in VERBS:
        family, _, last = verb.command.rpartition(" ")
        _declare(below.get(family, verbs), last, verb)
    return parser


def _declare(verbs: Any, name: str, verb: Verb) -> None:  # noqa: ANN401  # argparse keeps its class private
    parser: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=verb.help,
        description=verb.help,
        epilog=f"example: nanoclaw-ipc {verb.command} {verb.example}".rstrip() + f"\n\n{_EXIT_STATUS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    parser.set_defaults(verb=verb, json=False)
    parser.add_argument("--json", action="store_true", help="print the answer as the host gave it")
    for field in verb.fields:
        _declare_field(parser, verb, field)


def _declare_field(parser: argparse.ArgumentParser, verb: Verb, field: Field) -> None:
    required = field in verb.needed
    match field.name:
        case _ if field is verb.argument:
            _declare_argument(parser, field, optional=verb.argument_optional)
        case "schedule_type":
            _declare_schedule(parser, required)
        case "schedule_value":
            pass  # told with its type
        case "context_mode":
            modes = parser.add_mutually_exclusive_group()
            flags = {"isolated": "--isolated", "group": "--group-context"}
            for mode, meaning in (("isolated", "the task knows only its prompt"), ("group", "it knows this chat")):
                modes.add_argument(flags[mode], dest=field.name, action="store_const", const=mode, help=meaning)
        case "providerConfig":
            parser.add_argument("--approval-policy", dest="approvalPolicy", choices=("auto", "readonly", "full"))
            parser.add_argument("--auth-method", dest="authMethod", choices=("chatgpt", "api_key"))
        case _:
            _declare_option(parser, field, required)


def _declare_argument(parser: argparse.ArgumentParser, field: Field, *, optional: bool) -> None:
    if field.name in ("text", "prompt"):
        nargs = "?" if optional else None
        parser.add_argument(field.name, type=_text, nargs=nargs, help=f"{field.help}; - reads it from stdin")
    else:
        parser.add_argument(field.name, metavar="FOLDER" if field.name == "folder" else "ID", help=field.help)


def _declare_schedule(parser: argparse.ArgumentParser, required: bool) -> None:
    schedule = parser.add_mutually_exclusive_group(required=required)
    schedule.add_argument(
        "--cron", action=_Schedule, const="cron", metavar="FIELDS", help='for example "0 9 * * 1": Mondays at 9:00'
    )
    schedule.add_argument(
        "--every",
        action=_Schedule,
        const="interval",
        type=_milliseconds,
        metavar="TIME",
        help="seconds, or 15m, 2h, 1d",
    )
    schedule.add_argument("--at", action=_Schedule, const="once", metavar="TIME", help='for example "2026-01-31T09:00"')


def _declare_option(parser: argparse.ArgumentParser, field: Field, required: bool) -> None:
    flag = _FLAGS.get(field.name, f"--{field.name}")
    text = f"{field.help} (main only)" if field.main else field.help
    if field.kind == "boolean":
        parser.add_argument(flag, dest=field.name, action=argparse.BooleanOptionalAction, help=text)
        return
    if field.kind == "array":
        parser.add_argument(flag, dest=field.name, action="append", type=_path, metavar="PATH", help=text)
        return
    parser.add_argument(
        flag,
        dest=field.name,
        required=required,
        choices=field.choices or None,
        metavar=None if field.choices else flag.strip("-").upper(),
        type=_object if field.kind == "object" else str,
        help=text,
    )


class _Schedule(argparse.Action):
    """One flag for two fields: its `const` is the type of the schedule."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        namespace.schedule_type, namespace.schedule_value = self.const, values


def _text(word: str) -> str:
    return sys.stdin.read() if word == "-" else word


def _path(word: str) -> str:
    return os.path.abspath(word)  # noqa: PTH100  # pathlib is slow to import


def _milliseconds(word: str) -> str:
    match = re.fullmatch(r"(\d{1,12})([smhd]?)", word.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{word!r} is no length of time; write seconds, or 15m, 2h, 1d")
    return str(int(match[1]) * _MILLISECONDS[match[2] or "s"])


def _object(word: str) -> Any:  # noqa: ANN401  # JSON
    try:
        value = json.loads(word)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{word!r} is no JSON object; write for example '{{\"timeout\": 600000}}'")
    return value  # pyright: ignore[reportUnknownVariableType]  # json gives string keys


if __name__ == "__main__":
    main()
