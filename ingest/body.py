"""Parses bodies; the large ones beside the event loop, so that nobody waits for them."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tmon.core.errors import Overloaded
from tmon.core.reading import Batch

AT_ONCE_BYTES = 16 * 1024  # at worst 20 ms of one bad reading after the other; 100 take 10 kB
WAITING_BYTES = 64 * 1024 * 1024


class BodyParser:
    """Owns the thread in which large bodies are parsed, one at a time."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "body-parser")
        self._waiting_bytes = 0

    async def parse(
        self, size_bytes: int, parse: Callable[..., Batch], *known: object, is_compressed: bool
    ) -> Batch:
        """What ``parse`` makes of a body of ``size_bytes``; a compressed one may hold far more.

        Raises:
            Overloaded: over 64 MiB of other bodies wait already.
        """
        if size_bytes <= AT_ONCE_BYTES and not is_compressed:
            return parse(*known)
        if self._waiting_bytes and self._waiting_bytes + size_bytes > WAITING_BYTES:
            raise Overloaded("too many large requests wait to be read; try again later")
        self._waiting_bytes += size_bytes
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, parse, *known)
        finally:
            self._waiting_bytes -= size_bytes

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
