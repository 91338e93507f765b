"""Answers go out no faster than they are read, and who doesn't read is left."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

PIECE_BYTES = 64 * 1024
STALLED_S = 10.0  # for a piece to be read
LEAST_BYTES_A_S = 50_000  # by a reader of a long answer

Message = dict[str, Any]
Send = Callable[[Message], Awaitable[None]]


class Unread(Exception):
    """An answer was not read in time: it stays without its end, and its connection is closed."""


async def send_in_pieces(send: Send, body: bytes, *, more_body: bool) -> None:
    """Send a body, which may be the last of its answer.

    Raises:
        Unread: it was not read in time.
    """
    try:
        async with asyncio.timeout(STALLED_S + len(body) / LEAST_BYTES_A_S):
            for start in range(0, len(body) or 1, PIECE_BYTES):
                piece = body[start : start + PIECE_BYTES]
                more = more_body or start + PIECE_BYTES < len(body)
                message = {"type": "http.response.body", "body": piece, "more_body": more}
                await asyncio.wait_for(send(message), STALLED_S)
                await asyncio.sleep(0)  # others have their turn
    except TimeoutError:
        raise Unread from None
