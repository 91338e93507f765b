"""Send each of some requests once: to warm a peer up, or to fill it."""

import asyncio
import re
from collections.abc import Iterable, Iterator

import uvloop

from bench.process import Failed

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def send(port: int, requests: Iterable[bytes], *, connections: int = 4) -> None:
    """Send whole requests, over several connections.

    Raises:
        Failed: an answer wasn't 2xx.
    """
    uvloop.run(_send(port, iter(requests), connections))


async def _send(port: int, requests: Iterator[bytes], connections: int) -> None:
    await asyncio.gather(*(_connection(port, requests) for _ in range(connections)))


async def _connection(port: int, requests: Iterator[bytes]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for request in requests:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        body = await reader.readexactly(int(length[1])) if length else b""
        _check(head, body)
    writer.close()


def _check(head: bytes, body: bytes) -> None:
    status = head.split(b" ", 2)[1]
    if not status.startswith(b"2") or b'"code"' in body:
        raise Failed(f"a reading was refused: {status.decode()} {body[:300].decode()}")
