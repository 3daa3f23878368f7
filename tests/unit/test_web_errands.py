"""What takes minutes and is watched on the page."""

from collections.abc import AsyncGenerator

import anyio
import pytest

from nanoclaw.errors import ChannelUnavailable, UsageError
from nanoclaw.web.errands import EndedBadly, Errand

pytestmark = pytest.mark.anyio


async def words(*said: str) -> AsyncGenerator[str]:
    for word in said:
        yield word


async def until(errand: Errand[str], over: bool = True) -> None:
    with anyio.fail_after(5):
        while errand.under_way == over:
            await errand.changed.after(errand.changed.count)


async def test_all_that_is_said_is_kept_until_the_next_one_begins() -> None:
    errand = Errand[str]()
    async with anyio.create_task_group() as group:
        group.start_soon(errand.run)
        errand.start("family", lambda: words("a", "b"))
        await until(errand)
        assert (errand.about, errand.events) == ("family", ["a", "b"])
        errand.start("", lambda: words("c"))
        assert errand.events == []
        await until(errand)
        assert errand.events == ["c"]
        group.cancel_scope.cancel()


async def test_there_is_one_at_a_time_and_one_that_is_stopped_leaves_nothing_behind() -> None:
    closed = False

    async def endless() -> AsyncGenerator[str]:
        nonlocal closed
        try:
            yield "begun"
            await anyio.sleep_forever()
        finally:
            closed = True

    errand = Errand[str]()
    async with anyio.create_task_group() as group:
        group.start_soon(errand.run)
        errand.start("", endless)
        while not errand.events:
            await errand.changed.after(errand.changed.count)
        with pytest.raises(UsageError, match="under way"):
            errand.start("", endless)
        errand.stop()
        await until(errand)
        assert closed
        assert errand.events == []
        errand.stop()  # of nothing
        errand.start("", lambda: words("again"))
        await until(errand)
        assert errand.events == ["again"]
        group.cancel_scope.cancel()


async def test_one_that_is_stopped_before_it_begins_does_not_begin() -> None:
    errand = Errand[str]()
    errand.start("", lambda: words("a"))
    errand.stop()
    async with anyio.create_task_group() as group:
        group.start_soon(errand.run)
        await until(errand)
        assert errand.events == []
        group.cancel_scope.cancel()


async def test_what_goes_wrong_is_told_and_a_fault_of_ours_ends_nothing_else() -> None:
    async def away() -> AsyncGenerator[str]:
        yield "begun"
        raise ChannelUnavailable("it is away", "wait")

    async def broken() -> AsyncGenerator[str]:
        yield "begun"
        raise ZeroDivisionError

    errand = Errand[str]()
    async with anyio.create_task_group() as group:
        group.start_soon(errand.run)
        errand.start("", away)
        await until(errand)
        assert errand.events == ["begun", EndedBadly(reason="it is away", hint="wait")]
        errand.start("", broken)
        await until(errand)
        assert errand.events[-1] == EndedBadly(reason="internal error", hint="the host's log says more")
        group.cancel_scope.cancel()
