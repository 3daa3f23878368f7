"""What was measured, as people read it: in the terminal, and as docs/reference/numbers.md."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

_ROOT: Final = Path(__file__).parents[1]
RESULTS: Final = _ROOT / "bench" / "results"
PAGE: Final = _ROOT / "docs" / "reference" / "numbers.md"

Numbers = Mapping[str, float]

TARGETS: Final[Mapping[str, tuple[str, Callable[[Numbers], bool]]]] = {
    "host share, message to sandbox start": ("≤ 15 ms", lambda table: table["ms"] <= 15),
    "IPC file to sent": ("≤ 15 ms", lambda table: table["ms"] <= 15),
    "turn in bubblewrap / bare, codex": ("≤ 1.25", lambda table: table["ratio"] <= 1.25),
    "turn in bubblewrap / bare, claude": ("≤ 1.25", lambda table: table["ratio"] <= 1.25),
    "turn in podman / bare, codex": ("≤ 2", lambda table: table["ratio"] <= 2),
    "turn in podman / bare, claude": ("≤ 2", lambda table: table["ratio"] <= 2),
    "scheduler lateness": ("≤ 50 ms at p99", lambda table: table["p99_ms"] <= 50),
    "a look at 100,000 tasks": ("≤ 1 ms", lambda table: table["ms"] <= 1),
    "idle CPU": ("≤ 0.3 % of a core", lambda table: table["percent"] <= 0.3),
    "host memory": ("≤ 70 MB", lambda table: table["megabytes"] <= 70),
    "host memory, growth under 16 streams": ("≤ 16 MB", lambda table: table["megabytes"] <= 16),
    "gateway, added to a request": ("≤ 3 ms", lambda table: table["ms"] <= 3),
    "gateway, added to a stream's first byte": ("≤ 3 ms", lambda table: table["ms"] <= 3),
    "page with 100 groups, 10,000 runs, 100,000 messages": ("≤ 200 ms", lambda table: table["ms"] <= 200),
}

_SHAPES: Final[Mapping[frozenset[str], str]] = {
    frozenset(shape.split()): text
    for shape, text in {
        "ms": "{ms:.3g} ms",
        "ms p99_ms": "{ms:.3g} ms, {p99_ms:.3g} ms at p99",
        "ms ms_off": "{ms:.3g} ms / {ms_off:.3g} ms",
        "ms usual_ms": "{ms:.3g} ms for the slowest view, {usual_ms:.3g} ms for most",
        "ratio seconds bare_seconds": "{ratio:.2f} ({seconds:.2f} s against {bare_seconds:.2f} s)",
        "seconds direct_seconds": "{seconds:.3f} s / {direct_seconds:.3f} s",
        "percent": "{percent:.2f} % of a core",
        "megabytes": "{megabytes:.0f} MB",
        "messages_per_second": "{messages_per_second:.0f} messages a second",
        "in_per_second out_per_second": "{in_per_second:.0f} in, {out_per_second:.0f} out, a second",
    }.items()
}
"""How numbers are said, by their units."""

_PAGE: Final = """\
# Numbers

<!-- Written by `make bench`. -->

Measured {measured}; scripted models on the same machine, medians. "Bare" is the CLI
alone on the host, in the same minute; Claude's goes on with its session there, as it does in a group.

| what | measured | target |
|---|---|---|
{rows}
"""


def said(numbers: Numbers) -> str:
    """One measurement in words."""
    return _SHAPES[frozenset(numbers)].format(**numbers)


def table(found: Mapping[str, Numbers]) -> str:
    """All of it as text, with the targets and whether they were met."""
    return "\n".join(
        f"{name:52} {said(numbers):40} {_verdict(name, numbers)}".rstrip() for name, numbers in found.items()
    )


def page(document: Mapping[str, Any]) -> str:
    """All of it as a page."""
    machine = document["machine"]
    measured = f"{document['at'][:10]} on {machine['cpus']} shared cores with Python {machine['python']}"
    rows = [row(name, numbers) for name, numbers in document["numbers"].items()]
    return _PAGE.format(measured=measured, rows="\n".join(rows))


def row(name: str, numbers: Numbers) -> str:
    """A line of the page's table."""
    target = TARGETS[name][0] if name in TARGETS else ""
    return f"| {name} | {said(numbers)} | {target} |"


def newest() -> dict[str, Any]:
    """What was measured last."""
    return json.loads(max(RESULTS.glob("*.json")).read_text(encoding="utf-8"))


def _verdict(name: str, numbers: Numbers) -> str:
    if name not in TARGETS:
        return ""
    target, met = TARGETS[name]
    return f"target {target}: {'met' if met(numbers) else 'MISSED'}"
