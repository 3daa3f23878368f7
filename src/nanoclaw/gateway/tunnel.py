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
        record: counts the bytes; when no more may pass, they do not.
        idle_seconds: how long both may be silent.
    """

    async def copy(source: ByteStream, sink: ByteStream, data: bytes, count: Callable[[int], bool]) -> None:
        try:
            while True:
                if data:
                    await sink.send(data)
                data = await source.receive()
                if not count(len(data)):
                    record.cut = "volume"
                    quiet.cancel()
                quiet.deadline = anyio.current_time() + idle_seconds
        except anyio.EndOfStream:
            with suppress(OSError):  # the other end may be gone altogether
                await sink.send_eof()
        except anyio.BrokenResourceError:
            quiet.cancel()

    record.upload(len(early))
    with anyio.move_on_after(idle_seconds) as quiet:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(copy, near, far, early, record.upload)
            tasks.start_soon(copy, far, near, b"", record.download)
