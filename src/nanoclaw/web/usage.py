"""Usage: what the groups' runs cost, by day."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nanoclaw.budget import day_of
from nanoclaw.errors import UsageError
from nanoclaw.store import usage
from nanoclaw.store.usage import Usage
from nanoclaw.web import plot
from nanoclaw.web.context import Context, rendered

RANGES: Final = (7, 30, 90)
_SERIES: Final = 5
"""Groups that have a colour of their own; the others share one."""
_MEASURES: Final[dict[str, tuple[str, Callable[[Usage], float]]]] = {
    "tokens": ("tokens", lambda each: each.input_tokens + each.output_tokens),
    "usd": ("US$", lambda each: each.cost_usd or 0.0),
    "runs": ("runs", lambda each: each.runs),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Total:
    """What several days, or several groups, come to."""

    name: str
    runs: int
    failed: int
    seconds: float
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    cost_usd: float | None


def usage_routes(context: Context) -> list[Route]:
    """`/usage`"""
    services = context.services

    async def show(request: Request) -> Response:
        days, measure, folder = _choice(request)
        today, _ = day_of(services.clock.now(), context.zone)
        first = today - timedelta(days=days - 1)
        found = await services.database.read(usage.by_day, first, context.zone)
        chosen = [each for each in found if folder in ("", each.folder)]
        shown = [(today - timedelta(days=back)).date() for back in reversed(range(days))]
        title, value = _MEASURES[measure]
        names = _largest(chosen, value)
        values = {
            "days": days,
            "ranges": RANGES,
            "measure": measure,
            "measures": {key: name for key, (name, _) in _MEASURES.items()},
            "unit": title,
            "chosen": folder,
            "groups": list(services.groups.groups.values()),
            "names": names,
            "plot": plot.plot(shown, _stacks(chosen, names, value)) if chosen else None,
            "shape": plot,
            "by_group": totals(chosen, lambda each: each.folder),
            "by_day": totals(reversed(chosen), lambda each: each.day.isoformat()),
            "all": next(iter(totals(chosen, lambda _: "all")), None),
        }
        return rendered(request, "usage.html", values)

    return [Route("/usage", show)]


def totals(found: Iterable[Usage], name: Callable[[Usage], str]) -> list[Total]:
    """Sums of what has the same name, in the order in which the names come."""
    by_name: dict[str, list[Usage]] = defaultdict(list)
    for each in found:
        by_name[name(each)].append(each)
    return [_total(key, parts) for key, parts in by_name.items()]


def _total(name: str, parts: Sequence[Usage]) -> Total:
    told = [each.cost_usd for each in parts if each.cost_usd is not None]
    return Total(
        name=name,
        runs=sum(each.runs for each in parts),
        failed=sum(each.failed for each in parts),
        seconds=sum(each.seconds for each in parts),
        input_tokens=sum(each.input_tokens for each in parts),
        cached_input_tokens=sum(each.cached_input_tokens for each in parts),
        output_tokens=sum(each.output_tokens for each in parts),
        cost_usd=sum(told) if told else None,
    )


def _choice(request: Request) -> tuple[int, str, str]:
    asked = request.query_params
    days, measure = asked.get("days", "30"), asked.get("measure", "tokens")
    if days not in map(str, RANGES) or measure not in _MEASURES:
        raise UsageError("there is no such plot", "choose one on the page")
    return int(days), measure, asked.get("group", "")


def _largest(found: Sequence[Usage], value: Callable[[Usage], float]) -> list[str]:
    """The groups that get a colour, the largest first; the others are `others`, if there are any."""
    sums: dict[str, float] = defaultdict(float)
    for each in found:
        sums[each.folder] += value(each)
    names = sorted(sums, key=lambda name: (-sums[name], name))
    return names if len(names) <= _SERIES + 1 else [*names[:_SERIES], ""]


def _stacks(found: Sequence[Usage], names: Sequence[str], value: Callable[[Usage], float]) -> list[dict[date, float]]:
    stacks: list[dict[date, float]] = [defaultdict(float) for _ in names]
    places = {name: number for number, name in enumerate(names)}
    for each in found:
        stacks[places.get(each.folder, len(names) - 1)][each.day] += value(each)
    return stacks
