"""Bytes both ways, unread."""

from collections.abc import Callable
from contextlib import suppress

import anyio
from anyio.abc import ByteStream

from nanoclaw.gateway.exchange import Record


async def splice(near: ByteStream, far: ByteStream, early: bytes, record: Record, idle_seconds: float) -> None:
    """Pass bytes between two streams until both ends have closed, one breaks, or none come for `idle_seconds`.

    Args:
        near: the sandbox's end.
        far: the server's.
        early: what the sandbox has sent already.
        record: counts the bytes.
        idle_seconds: how long both may be silent.
    """

    async def copy(source: ByteStream, sink: ByteStream, data: bytes, count: Callable[[int], None]) -> None:
        try:
            while True:
                if data:
                    await sink.send(data)
                data = await source.receive()
                count(len(data))
                quiet.deadline = anyio.current_time() + idle_seconds
        except anyio.EndOfStream:
            with suppress(OSError):  # the other end may be gone altogether
                await sink.send_eof()
        except anyio.BrokenResourceError:
            quiet.cancel()

    def received(count: int) -> None:
        record.received += count

    def sent(count: int) -> None:
        record.sent += count

    with anyio.move_on_after(idle_seconds) as quiet:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(copy, near, far, early, received)
            tasks.start_soon(copy, far, near, b"", sent)
