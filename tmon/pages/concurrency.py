"""How many requests run at once. The others wait in a queue, which costs next to nothing.

Home, our other pages, tables and SQL each have a pool of their own, so that visitors' SQL
can't slow down the rest. A request leaves its pool before its answer is sent; all long answers
that clients have not read yet take at most ``UNREAD_BYTES`` of memory.
"""

import asyncio
import re
from collections.abc import Awaitable, Generator, Mapping
from time import monotonic
from typing import Any
from urllib.parse import parse_qs

from datasette import hookimpl
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tmon.core.languages import N_, gettext
from tmon.pages.asgi import CHUNK_BYTES, Middleware, SlowClient, disconnected, send_in_chunks
from tmon.pages.limited_connection import RowCost, row_cost

POOL_SIZE = 2  # requests that run at once in each pool
QUEUE_TIMEOUT_S = 10.0  # then the answer is 429
UNREAD_TIMEOUT_S = 5.0  # for a long answer to wait until others were read
HANDLER_TIMEOUT_S = 12.0  # for Datasette's own pages: each of their statements has a second
YIELD_EVERY_S = 0.02
UNREAD_BYTES = 16 * 1024 * 1024
MAX_ANSWER_BYTES = 32 * 1024 * 1024  # the limit for rows makes 24 MiB at most
QUEUE_TIMEOUT_KEY = "tmon.wait_s"  # in the scope of a request that a CSV export makes

# Paths below the base URL. A path that matches none of these is a table or a page of Datasette's.
UNLIMITED = re.compile(r"/(-/)?static/|/favicon\.ico$|/robots\.txt$|/download/")
HOME = re.compile(r"/$")
PAGES = re.compile(
    r"/(node|year)/|/compare(\.|$)|/(map|refused|download)$|/manifest\.webmanifest$"
    r"|/datapackage\.json$|/sitemap|/incidents\.atom$"
)
SQL = re.compile(r"/[^/]+/-/(query|queries/analyze|execute-write)")
SQL_PARAMETERS = frozenset(("sql", "_where"))

BUSY = "busy"
TOO_SLOW = N_("This takes longer than a request may. Ask for less at a time.")
TOO_LONG = N_("This answer is longer than one may be. Ask for less at a time.")


class ByteBudget:
    """Bytes that all unread answers share."""

    def __init__(self, limit: int) -> None:
        self._limit = self._free = limit
        self._released = asyncio.Event()

    async def acquire(self, length: int) -> int:
        """Wait for free bytes and return how many were taken; at most the whole budget."""
        length = min(length, self._limit)
        while self._free < length:
            self._released.clear()
            await self._released.wait()
        self._free -= length
        return length

    def release(self, length: int) -> None:
        self._free += length
        self._released.set()


class ConcurrencyLimit(Middleware):
    """Queues requests, runs them within time and size limits, then sends their answers."""

    def __init__(self, app: ASGIApp, datasette: Any) -> None:
        super().__init__(app, datasette)
        self._home, self._pages, self._tables, self._sql = (
            asyncio.Semaphore(POOL_SIZE) for _ in range(4)
        )
        self._unread = ByteBudget(UNREAD_BYTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(self.datasette.setting("base_url").rstrip("/"))
        query = scope.get("query_string", b"").decode("latin-1")
        parameters = parse_qs(query, keep_blank_values=True)
        pool = self._pool(path, parameters)
        if pool is None:
            return await self.app(scope, receive, send)
        row_cost.set(RowCost.of(path, parameters, len(query)))
        is_export = QUEUE_TIMEOUT_KEY in scope  # its client is watched by csv_export.py
        gone = asyncio.ensure_future(asyncio.Event().wait() if is_export else disconnected(receive))
        try:
            await asyncio.wait_for(pool.acquire(), scope.get(QUEUE_TIMEOUT_KEY, QUEUE_TIMEOUT_S))
        except TimeoutError:
            gone.cancel()
            return await self.send_too_many_requests(scope, send)
        answer = _BufferedAnswer(pool, self._unread, send)
        try:
            if not gone.done():
                timeout_s = HANDLER_TIMEOUT_S if pool in {self._tables, self._sql} else None
                await _run_until_gone(timeout_s, gone, self.app(scope, receive, answer.collect))
                await answer.send(is_export=is_export)
        except TimeoutError:
            answer.error = None if gone.done() else TOO_SLOW
        finally:
            gone.cancel()
            answer.leave_pool()
        if answer.error == BUSY:
            await self.send_too_many_requests(scope, send)
        elif answer.error:
            title = gettext("Too much at once")
            await self.send_error(scope, send, 400, gettext(answer.error), title=title)
        return None

    def _pool(self, path: str, parameters: Mapping[str, list[str]]) -> asyncio.Semaphore | None:
        """The pool of a request; None for files that cost next to nothing."""
        for pattern, pool in ((UNLIMITED, None), (HOME, self._home), (PAGES, self._pages)):
            if pattern.match(path):
                return pool
        is_sql = SQL.match(path) or not SQL_PARAMETERS.isdisjoint(parameters)
        return self._sql if is_sql else self._tables


async def _run_until_gone(
    timeout_s: float | None, gone: asyncio.Future[Any], handler: Awaitable[None]
) -> None:
    """Await a handler until the time is up or the client has gone; without a timeout, to its end.

    Raises:
        TimeoutError: the handler was cancelled.
    """
    if timeout_s is None:
        return await handler
    async with asyncio.timeout(timeout_s) as timeout:

        def expire(_: asyncio.Future[Any]) -> None:
            if not timeout.expired():
                timeout.reschedule(0)

        gone.add_done_callback(expire)
        try:
            await handler
        finally:
            gone.remove_done_callback(expire)


class _BufferedAnswer:
    """Collects an answer in memory, leaves the pool, and only then sends it to the client."""

    def __init__(self, pool: asyncio.Semaphore, unread: ByteBudget, send: Send) -> None:
        self._pool: asyncio.Semaphore | None = pool
        self._unread = unread
        self._send = send
        self._start: Message = {}
        self._chunks: list[bytes] = []
        self._length = 0
        self.error: str | None = None

    def leave_pool(self) -> None:
        if self._pool is not None:
            self._pool.release()
            self._pool = None

    async def collect(self, message: Message) -> None:
        """Stand in for ASGI's ``send`` while the handler runs."""
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._length += len(message.get("body", b""))
        self._chunks.append(message.get("body", b""))
        if self._length > MAX_ANSWER_BYTES:
            self._chunks.clear()
            self.error = TOO_LONG

    async def send(self, *, is_export: bool) -> None:
        """Send what was collected, at the client's speed; to a CSV export, all at once."""
        if self.error:
            return
        body = b"".join(self._chunks)
        self._chunks.clear()
        if is_export:
            await self._send(self._start)
            await self._send({"type": "http.response.body", "body": body})
            return
        acquired = 0
        try:
            if len(body) > CHUNK_BYTES:
                acquired = await asyncio.wait_for(self._unread.acquire(len(body)), UNREAD_TIMEOUT_S)
            self.leave_pool()
            await self._send(self._start)
            await send_in_chunks(self._send, body, more_body=False)
        except TimeoutError:
            self.error = BUSY
        except SlowClient:
            pass
        finally:
            self._unread.release(acquired)


class _Yielding:
    """Lets other requests run every ``YIELD_EVERY_S`` while a long page is rendered."""

    def __init__(self) -> None:
        self._due_s = 0.0

    def is_due(self) -> bool:
        return monotonic() >= self._due_s

    async def pause(self) -> None:
        """Return None, which leaves the cell to the next ``render_cell`` hook."""
        await asyncio.sleep(0)
        self._due_s = monotonic() + YIELD_EVERY_S


_yielding = _Yielding()


@hookimpl(wrapper=True)
def render_cell() -> Generator[None, list[Any], list[Any]]:
    """Pause between two cells of a long page, which Datasette would render in one go."""
    cells = yield
    return [_yielding.pause(), *cells] if _yielding.is_due() else cells
