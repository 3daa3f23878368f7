"""Bars for days, stacked by group: where each goes. Pure; the template draws them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from math import ceil, floor, log10
from typing import Final

WIDTH: Final = 960
HEIGHT: Final = 280
LEFT: Final = 72
"""Where the bars begin; to the left of it stand the numbers."""
BOTTOM: Final = 248
"""On what they stand; below it stand the days."""
_TOP: Final = 12
_TICKS: Final = 4
_NOTHING: Final = 1e-9
"""What is less than this, in dollars, seconds or tokens, is drawn as if it were nothing."""
_MOST_NAMES: Final = 12
_GAP: Final = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """A piece of a day's bar, in the plot's own units."""

    x: float
    y: float
    width: float
    height: float
    series: int
    day: date
    value: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Plot:
    """Everything to draw."""

    bars: list[Bar]
    ticks: list[tuple[float, float]]
    """Height and number of each line across."""
    days: list[tuple[float, date]]
    """Middle and name of the days that are named."""


def plot(days: Sequence[date], series: Sequence[Mapping[date, float]]) -> Plot:
    """Stacked bars.

    Args:
        days: from left to right; at least one.
        series: what each has on a day, from the bottom up; a day that is not there has nothing.
    """
    step = (WIDTH - LEFT) / len(days)
    most = max(sum(each.get(day, 0.0) for each in series) for day in days)
    ticks = _ticks(most)
    scale = (BOTTOM - _TOP) / ticks[-1]
    bars: list[Bar] = []
    for number, day in enumerate(days):
        x, y = LEFT + step * (number + _GAP / 2), float(BOTTOM)
        for index, each in enumerate(series):
            height = each.get(day, 0.0) * scale
            if height > 0:
                y -= height
                bars.append(
                    Bar(x=x, y=y, width=step * (1 - _GAP), height=height, series=index, day=day, value=each[day])
                )
    named = ceil(len(days) / _MOST_NAMES)
    names = [(LEFT + step * (number + 0.5), day) for number, day in enumerate(days) if number % named == 0]
    return Plot(bars=bars, ticks=[(BOTTOM - tick * scale, tick) for tick in ticks], days=names)


def _ticks(most: float) -> list[float]:
    """Round numbers from 0 to at least `most`."""
    if most < _NOTHING:
        return [0.0, 1.0]
    rough = most / _TICKS
    size = 10.0 ** floor(log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough)
    return [step * number for number in range(ceil(most / step) + 1)]
