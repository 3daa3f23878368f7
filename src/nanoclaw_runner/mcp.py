"""Claude's tools, as the Model Context Protocol tells them: JSON-RPC 2.0. What is done, the host decides.

Claude Code is answered by the runner itself, over the line that the two have anyway: as a process of its own, started
by the CLI, the server would make every run a fifth longer.
"""

import json
from typing import Any, Final, cast

from nanoclaw.wire import IPC_DIRECTORY
from nanoclaw_runner.mailbox import NoAnswerError, ask
from nanoclaw_runner.verbs import VERBS, Field, Verb

SERVER: Final = "nanoclaw"
"""Its name among the client's servers."""
_VERSIONS: Final = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
"""Of the protocol, the newest first; what is used of it is the same in all."""
_NOT_A_REQUEST, _NO_SUCH_METHOD, _WRONG_PARAMETERS = -32600, -32601, -32602

Json = dict[str, Any]


class _ProtocolError(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def respond(message: Any, *, main: bool, mailbox: str = IPC_DIRECTORY) -> Json | None:  # noqa: ANN401  # JSON
    """The answer to one message; None: it wants none. Waits for the host, if the message has it asked."""
    match message:
        case {"method": str(method), "id": number}:
            parameters = message.get("params", {})
        case {"method": str()}:
            return None
        case _:
            return _error(None, _NOT_A_REQUEST, "that is no request")
    if not isinstance(parameters, dict):
        return _error(number, _WRONG_PARAMETERS, "params is no object")
    try:
        return {"jsonrpc": "2.0", "id": number, "result": _result(method, cast("Json", parameters), main, mailbox)}
    except _ProtocolError as error:
        return _error(number, error.code, str(error))


def tools(*, main: bool) -> list[Json]:
    """The tools that a group is offered, as `tools/list` tells them."""
    return [
        {"name": verb.tool, "description": verb.help, "inputSchema": _schema(verb, main)}
        for verb in VERBS
        if main or not verb.main
    ]


def _error(number: object, code: int, text: str) -> Json:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": text}}


def _result(method: str, parameters: Json, main: bool, mailbox: str) -> Json:
    match method:
        case "initialize":
            asked = parameters.get("protocolVersion")
            return {
                "protocolVersion": asked if asked in _VERSIONS else _VERSIONS[0],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": SERVER, "version": "1"},
            }
        case "ping":
            return {}
        case "tools/list":
            return {"tools": tools(main=main)}
        case "tools/call":
            return _call(parameters, mailbox)
        case _:
            raise _ProtocolError(_NO_SUCH_METHOD, f"there is no method {method}")


def _call(parameters: Json, mailbox: str) -> Json:
    verb = next((verb for verb in VERBS if verb.tool == parameters.get("name")), None)
    fields: object = parameters.get("arguments", {})
    if verb is None or not isinstance(fields, dict):
        raise _ProtocolError(_WRONG_PARAMETERS, f"there is no such tool; there are: {', '.join(v.tool for v in VERBS)}")
    try:
        answer = ask(verb, cast("Json", fields), mailbox)
        done = bool(verb.shows) or answer.get("ok") is True
    except (NoAnswerError, OSError) as error:
        answer, done = {"ok": False, "error": str(error)}, False
    return {"content": [{"type": "text", "text": json.dumps(answer, ensure_ascii=False)}], "isError": not done}


def _schema(verb: Verb, main: bool) -> Json:
    fields = [field for field in verb.fields if main or not field.main]
    return {
        "type": "object",
        "properties": {field.name: _property(field) for field in fields},
        "required": [field.name for field in verb.needed],
    }


def _property(field: Field) -> Json:
    more: Json = {"enum": list(field.choices)} if field.choices else {}
    if field.kind == "array":
        more = {"items": {"type": "string"}}
    return {"type": field.kind, **more, "description": field.help}
