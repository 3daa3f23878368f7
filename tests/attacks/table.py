"""Rows of the one table."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One attempt in one kind of sandbox."""

    category: str
    name: str
    engine: str
    expected: tuple[str, ...]
    got: str
    lack: str = ""
    """What this kind of sandbox says in `status` that it lacks, which is why it could not be otherwise."""

    @property
    def held(self) -> bool:
        """Whether it was answered as it should be, or as people were told that it would be."""
        return self.got in self.expected or bool(self.lack)

    @property
    def verdict(self) -> str:
        """As the table says it."""
        if self.got in self.expected:
            return "held"
        if self.lack:
            return "lacking, and told"
        return "BROKEN" if self.got.startswith("broken") else "HOLE"


def render(rows: Sequence[Row], notes: Iterable[str] = ()) -> str:
    """The table as Markdown, a summary below it."""
    heads = ("attempt", "category", "engine", "expected", "what happened", "verdict")
    cells = [heads, *(_cells(row) for row in rows)]
    widths = [min(70, max(len(line[column]) for line in cells)) for column in range(len(heads))]
    lines = ["| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths))
    lines = [f"{line} |" for line in lines]
    return "\n".join([*lines, "", *_summary(rows), *notes])


def in_short(rows: Sequence[Row]) -> str:
    """What did not hold, a line each; the first names all of them."""
    bad = [row for row in rows if not row.held]
    names = "; ".join(f"{row.category}: {row.name} ({row.verdict})" for row in bad)
    lines = [f"{row.verdict}: {row.engine}: {row.category}: {row.name}: {row.got}"[:300] for row in bad]
    return "\n".join([ascii(line)[1:-1] for line in (f"{len(bad)} of {len(rows)} did not hold: {names}", *lines)])


def _cells(row: Row) -> tuple[str, ...]:
    texts = (row.name, row.category, row.engine, " or ".join(row.expected), row.got, row.verdict)
    return tuple(ascii(text.replace("|", "¦"))[1:-1][:160] for text in texts)


def _summary(rows: Sequence[Row]) -> list[str]:
    lines: list[str] = []
    for engine in dict.fromkeys(row.engine for row in rows):
        counts = Counter(row.verdict for row in rows if row.engine == engine)
        told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
        lines.append(f"{engine}: {sum(counts.values())} attempts, {told}")
    return lines
