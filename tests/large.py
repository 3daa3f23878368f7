"""A database after a long time: a hundred groups, and half of all that was ever said and done in one of them."""

import sqlite3
from datetime import datetime
from typing import Final

from nanoclaw.clock import iso

GROUPS: Final = 100
RUNS: Final = 10_000
MESSAGES: Final = 100_000
FOLDERS: Final = ("family", *(f"g{number}" for number in range(1, GROUPS)))
"""The large group first."""

_NUMBERS: Final = "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {})"
_FOLDER: Final = "CASE i % 2 WHEN 0 THEN 'family' ELSE 'g' || (i % 100) END"
_WHEN: Final = "strftime('%Y-%m-%dT%H:%M:%f000Z', :now, '-' || (({count} - i) * 129600 / {count}) || ' minutes')"
"""Spread over 90 days."""
_RUN: Final = _WHEN.format(count=RUNS)
_MESSAGE: Final = _WHEN.format(count=MESSAGES)
_STATEMENTS: Final = (
    f"{_NUMBERS.format(MESSAGES)} INSERT INTO message (account, chat, sender, ext_id, sender_name, text, sent_at,"
    f" received_at, wakes) SELECT 'local', 'local:' || {_FOLDER}, 'local:Bob', i, 'Bob',"
    f" 'message ' || i || ': we talk about this and that, as people do', {_MESSAGE}, {_MESSAGE},"
    " i % 10 = 0 FROM n",
    f"{_NUMBERS.format(RUNS)} INSERT INTO run (folder, chat, cause, state, attempt, due_at, created_at, started_at,"
    f" ended_at, provider, input_tokens, output_tokens, cost_usd, failure) SELECT {_FOLDER}, 'local:' || {_FOLDER},"
    f" 'messages', CASE i % 50 WHEN 0 THEN 'failed' ELSE 'done' END, 1, {_RUN}, {_RUN}, {_RUN}, {_RUN}, 'claude',"
    " 1000, 50, 0.01, CASE i % 50 WHEN 0 THEN 'network' END FROM n",
    f"{_NUMBERS.format(RUNS)} INSERT INTO outbox (key, chat, kind, text, run_id, state, due_at, created_at, told)"
    f" SELECT 'run-' || i, 'local:' || {_FOLDER}, 'reply', 'answer ' || i, i + 1,"
    f" CASE i % 1000 WHEN 0 THEN 'failed' ELSE 'sent' END, {_RUN}, {_RUN}, 1 FROM n",
    f"{_NUMBERS.format(MESSAGES)} INSERT INTO network_decision (at, folder, host, port, verdict, reason, uploaded,"
    f" downloaded, ms) SELECT {_MESSAGE}, {_FOLDER}, 'h' || (i % 20) || '.example', 443,"
    " CASE i % 1001 WHEN 0 THEN 'refused' ELSE 'allowed' END, 'policy', 1, 1, 1 FROM n",
    "INSERT INTO part (key, outbox_id, number, state, platform_id) SELECT key || '/1', id, 1, 'sent', 'p' || id"
    " FROM outbox WHERE state = 'sent'",
    "INSERT INTO receipt (chat, platform_id, state, at) SELECT chat, 'p' || outbox.id, reached.value, created_at"
    ' FROM outbox, json_each(\'["server", "device", "read"]\') AS reached WHERE outbox.state = \'sent\'',
)


def fill(db: sqlite3.Connection, now: datetime) -> None:
    """Put everything in, in a transaction of the caller's."""
    for statement in _STATEMENTS:
        db.execute(statement, {"now": iso(now)})
