"""From a file's bytes to a command, and what a file is answered. Pure; which commands there are, `commands` says."""

import difflib
import json
import math
from typing import Any, NoReturn

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from nanoclaw.errors import MailboxError
from nanoclaw.ipc.commands import VERBS, Command, SendMessage

_MAX_DIGITS = 20  # of an integer; more is no number that any field could mean
_SHOWN_CHARACTERS = 60  # of what an agent wrote, when an answer repeats it

_JSON_TYPES: dict[type, str] = {
    str: "a string",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


def parse(data: bytes) -> Command:
    """Understand a file.

    Raises:
        MailboxError: it cannot be understood; says what is wrong and what would be right.
    """
    document = _strict_object(data)
    name = document.get("type")
    verb = VERBS.get(name) if isinstance(name, str) else None
    if verb is None:
        raise MailboxError(_no_such_type(document))
    try:
        return verb.model.model_validate(document)
    except ValidationError as error:
        wrong = "; ".join(_sentence(detail, verb.model) for detail in error.errors(include_url=False))
        raise MailboxError(f"{wrong}. For example: {verb.model.example}") from None


def ok_answer(**fields: object) -> dict[str, object]:
    """Answer to a command that took effect."""
    return {"ok": True, **fields}


def error_answer(text: str) -> dict[str, object]:
    """Answer to a file that was refused: what was wrong and what would be right."""
    return {"ok": False, "error": text}


def _strict_object(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_without_duplicates,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_short_integer,
        )
        json.dumps(document, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError as error:
        raise MailboxError(f"the file is not UTF-8 (byte {error.start}); write it as UTF-8") from None
    except UnicodeEncodeError:
        raise MailboxError("a string has half of a surrogate pair, which is no character; write it whole") from None
    except RecursionError:
        raise MailboxError("the file is nested too deeply; write one flat object") from None
    except json.JSONDecodeError as error:
        raise MailboxError(_no_json(error)) from None
    if not isinstance(document, dict):
        raise MailboxError(f"the file holds {_kind(document)}; write one object such as {SendMessage.example}")
    return document  # pyright: ignore[reportUnknownVariableType]  # json gives string keys


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for name, value in pairs:
        if name in document:
            raise MailboxError(f"{_shown(name)} is given twice; give every field once")
        document[name] = value
    return document


def _no_constant(name: str) -> NoReturn:
    raise MailboxError(f"{name} is not JSON; write a number, a string or null")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise MailboxError("a number is too large; write one that fits a double")
    return number


def _short_integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise MailboxError(f"a number has more than {_MAX_DIGITS} digits; write it as a string if it is a name")
    return int(digits)


def _no_json(error: json.JSONDecodeError) -> str:
    where = f"line {error.lineno}, column {error.colno}"
    if error.msg.startswith("Invalid control character"):
        return f"a string holds a raw control character ({where}); write a line break inside a string as \\n"
    return f"the file is not JSON: {error.msg} ({where}); write one object such as {SendMessage.example}"


def _no_such_type(document: dict[str, Any]) -> str:
    accepted = f"accepted are: {', '.join(sorted(VERBS))}"
    if "type" not in document:
        return f"`type` is missing; {accepted}"
    name = document["type"]
    if not isinstance(name, str):
        return f"`type` must be a string, not {_kind(name)}; {accepted}"
    near = difflib.get_close_matches(name[:_SHOWN_CHARACTERS], VERBS, n=1)
    return f"`type` {_shown(name)} is unknown; {f'did you mean {near[0]}? ' if near else ''}{accepted}"


def _sentence(detail: ErrorDetails, model: type[Command]) -> str:
    if not detail["loc"]:
        return str(detail.get("ctx", {})["error"])
    name = str(detail["loc"][0])
    if detail["type"] == "value_error":
        return f"`{name}` {detail.get('ctx', {})['error']}"
    right = next(field.description for key, field in model.model_fields.items() if name in (key, field.alias))
    if detail["type"] == "missing":
        return f"`{name}` is missing; it is {right}"
    return f"`{name}` is {_kind(detail['input'])}; it must be {right}"


def _kind(value: object) -> str:
    return _JSON_TYPES[type(value)]


def _shown(text: str) -> str:
    return json.dumps(text[:_SHOWN_CHARACTERS])
