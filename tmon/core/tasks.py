"""End tasks that may swallow a cancellation, as those that use the client of NATS."""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from typing import Any

AGAIN_S = 0.1


async def end(tasks: Collection["asyncio.Task[Any]"]) -> None:
    """Cancel tasks and wait until they have ended.

    They are cancelled again and again: NATS' client uses ``asyncio.wait_for``, which until
    Python 3.11 may swallow a cancellation. Who wants to know how one has ended asks it.
    """
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        with suppress(asyncio.CancelledError):  # we are ending already
            await asyncio.wait(pending, timeout=AGAIN_S)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # else asyncio logs those that nobody asks for
