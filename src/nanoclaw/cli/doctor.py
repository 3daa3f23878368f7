"""`nanoclaw doctor`: what is wrong, why it matters, and the command that mends it."""

import json
import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Final

import anyio
import typer

from nanoclaw.config import Home
from nanoclaw.doctor import Finding, Mend, Severity, examine, look_around
from nanoclaw.errors import NanoclawError
from nanoclaw.formatting import printable
from nanoclaw.logs import set_up_logging

_COLOURS: Final[dict[Severity, str]] = {"error": "red", "warning": "yellow", "note": "cyan", "fine": "green"}
_MARK: Final = 8  # columns
_NARROWEST: Final = 20


@dataclass(frozen=True, slots=True)
class Mended:
    """What became of one attempt to mend something."""

    does: str
    failed: str = ""


def doctor(
    context: typer.Context,
    fix: Annotated[
        bool, typer.Option("--fix", help="Mend what can be mended safely; ask before what takes long.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --fix: do not ask.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no server whether it can be reached.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Look at everything that must be right. Exit 0: it is; 1: something is to be mended."""
    set_up_logging(None, "critical", to_stderr=False)
    home: Home = context.obj
    findings = _look(home, offline)
    mended = _mend(findings, ask=not yes, quiet=as_json) if fix else []
    if mended:
        findings = _look(home, offline)
    healthy = all(finding.healthy for finding in findings)
    if as_json:
        shown = {
            "healthy": healthy,
            "findings": [finding.as_json() for finding in findings],
            "mended": [{"does": each.does, "failed": each.failed or None} for each in mended],
        }
        print(json.dumps(shown, indent=2, ensure_ascii=False))
    else:
        _show(findings, mended)
    raise typer.Exit(0 if healthy else 1)


def _look(home: Home, offline: bool) -> list[Finding]:
    async def look() -> list[Finding]:
        return await examine(await look_around(home, online=not offline))

    return anyio.run(look)


def _mend(findings: Sequence[Finding], *, ask: bool, quiet: bool) -> list[Mended]:
    """Do what the findings offer, each once. What is to be asked is left where nobody can be."""
    mended: list[Mended] = []
    for mend in {finding.mend.does: finding.mend for finding in findings if finding.mend}.values():
        if mend.asks and ask and not (sys.stdin.isatty() and typer.confirm(f"{mend.does}?", err=True)):
            continue
        mended.append(_attempt(mend, quiet=quiet))
    return mended


def _attempt(mend: Mend, *, quiet: bool) -> Mended:
    say = partial(print, file=sys.stderr) if quiet else print
    try:
        anyio.run(mend.run, say)
    except (NanoclawError, OSError) as error:
        return Mended(mend.does, str(error))
    return Mended(mend.does)


def _show(findings: Sequence[Finding], mended: Sequence[Mended]) -> None:
    """What is worst first; what is fine last."""
    for each in mended:
        print(f"could not {each.does}: {each.failed}" if each.failed else f"mended: {each.does}")
    in_terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if in_terminal else 0
    for severity, colour in _COLOURS.items():
        for finding in findings:
            if finding.severity == severity:
                mark = f"{severity:<{_MARK}}"
                print((typer.style(mark, fg=colour) if in_terminal else mark) + told(finding, width))


def told(finding: Finding, width: int) -> str:
    """A finding for a terminal of so many columns (0: as many as it takes), without its mark."""
    parts = [f"{finding.check}: {finding.what}"]
    if finding.severity != "fine":
        parts += [f"why: {finding.why}"] if finding.why else []
        parts += [f"→ {finding.hint}"] if finding.hint else []
    room = max(_NARROWEST, width - _MARK) if width else sys.maxsize
    lines = [line for part in parts for line in textwrap.wrap(printable(part), room, break_on_hyphens=False)]
    return f"\n{' ' * _MARK}".join(lines)
