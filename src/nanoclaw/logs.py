"""The host's log and the logs of runs: outside everything that a sandbox can write, bounded, without secrets."""

import json
import logging
import logging.handlers
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import structlog

from nanoclaw.clock import Clock, iso

Redact = Callable[[str], str]
"""Takes secrets out of a text."""

_HOST_LOG_BYTES = 5 << 20
_HOST_LOG_FILES = 5
_RUN_LOG_BYTES = 10 << 20  # an agent that prints megabytes fills this, not the disk


def set_up_logging(directory: Path | None, level: str, *, to_stderr: bool) -> None:
    """Send the log to `directory/nanoclaw.log` as JSON, rotated, and to stderr for people."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level.upper())
    for quiet in ("httpx", "httpcore", "uvicorn", "asyncio"):
        logging.getLogger(quiet).setLevel(logging.WARNING)
    if directory:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = logging.handlers.RotatingFileHandler(
            directory / "nanoclaw.log", maxBytes=_HOST_LOG_BYTES, backupCount=_HOST_LOG_FILES, encoding="utf-8"
        )
        root.addHandler(_rendered(file, structlog.processors.JSONRenderer(), shared))
    if to_stderr:
        console = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        root.addHandler(_rendered(logging.StreamHandler(), console, shared))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _rendered(
    handler: logging.Handler, renderer: structlog.typing.Processor, shared: list[structlog.typing.Processor]
) -> logging.Handler:
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    return handler


class RunLog:
    """One attempt's log: a JSON line for everything that happened."""

    def __init__(self, path: Path, clock: Clock, redact: Redact) -> None:
        self.path = path
        self._clock = clock
        self._redact = redact
        self._file = path.open("a", encoding="utf-8")
        self._left = _RUN_LOG_BYTES

    def write(self, what: str, **fields: object) -> None:
        """Append one line; past the limit lines are dropped, and that is said once."""
        if self._left <= 0:
            return
        line = json.dumps({"at": iso(self._clock.now()), "what": what, **fields}, ensure_ascii=False, default=str)
        line = self._redact(line).encode("utf-8", "replace").decode()
        self._left -= len(line)
        if self._left <= 0:
            line = json.dumps({"at": iso(self._clock.now()), "what": "cut", "because": "this log is full"})
        self._file.write(line + "\n")
        self._file.flush()

    def close(self) -> None:
        """No more lines."""
        self._file.close()


@contextmanager
def run_log(directory: Path, name: str, clock: Clock, redact: Redact, keep: int) -> Generator[RunLog]:
    """The log `directory/name.jsonl`, for as long as the context lasts; the oldest beyond `keep` go."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = RunLog(directory / f"{name}.jsonl", clock, redact)
    try:
        yield log
    finally:
        log.close()
        logs = sorted(directory.glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
        for old in logs[:-keep] if keep else logs:
            old.unlink(missing_ok=True)
