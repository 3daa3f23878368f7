"""Where the bars of a plot are, and what their numbers come to."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoclaw.model import Folder
from nanoclaw.store.usage import Usage
from nanoclaw.web.plot import BOTTOM, LEFT, WIDTH, plot
from nanoclaw.web.usage import totals

FIRST = date(2026, 1, 1)
DAYS = [FIRST + timedelta(days=number) for number in range(30)]
ONE = Usage(day=FIRST, folder=Folder("family"), provider="codex", runs=2, failed=1, seconds=3.0, input_tokens=10)


@given(
    st.lists(st.dictionaries(st.sampled_from(DAYS), st.floats(0, 1e12, allow_subnormal=False)), min_size=1, max_size=6)
)
def test_every_bar_is_inside_and_stands_on_what_is_below_it(series: list[dict[date, float]]) -> None:
    drawn = plot(DAYS, series)
    below = dict.fromkeys(DAYS, float(BOTTOM))
    for bar in drawn.bars:
        assert bar.x >= LEFT
        assert bar.x + bar.width <= WIDTH + 1e-6
        assert bar.y + bar.height == pytest.approx(below[bar.day])
        assert bar.y >= 0
        below[bar.day] = bar.y
    assert drawn.ticks[-1][1] >= max(sum(each.get(day, 0.0) for each in series) for day in DAYS)
    assert 2 <= len(drawn.ticks) <= 7


def test_the_lines_across_are_at_round_numbers_from_nothing_up() -> None:
    assert [value for _, value in plot(DAYS, [{FIRST: 87.0}]).ticks] == [0, 25, 50, 75, 100]
    assert [value for _, value in plot(DAYS, [{FIRST: 0.031}]).ticks] == pytest.approx([0, 0.01, 0.02, 0.03, 0.04])
    assert [value for _, value in plot(DAYS, [{}]).ticks] == [0, 1]
    assert [value for _, value in plot(DAYS, [{FIRST: 2.3e-308}]).ticks] == [0, 1]


def test_not_every_day_is_named_where_there_are_many() -> None:
    assert len(plot(DAYS[:7], [{}]).days) == 7
    assert len(plot(DAYS, [{}]).days) == 10


def test_a_sum_of_what_nobody_told_a_price_of_has_none() -> None:
    paid = Usage(day=FIRST, folder=Folder("main"), provider="claude", runs=1, cost_usd=0.5)
    family, main = totals([ONE, ONE, paid], lambda each: each.folder)
    assert (family.runs, family.failed, family.seconds, family.input_tokens, family.cost_usd) == (4, 2, 6.0, 20, None)
    assert main.cost_usd == 0.5
    assert totals([ONE, paid], lambda _: "all")[0].cost_usd == 0.5
