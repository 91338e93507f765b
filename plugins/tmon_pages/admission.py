"""How many requests are worked on at once; the others wait for their turn.

What is worked on takes memory and the processor's time, what waits takes next to none. Each
lane has places of its own, so that strangers' SQL leaves those of tables and of our pages alone.
A request leaves its place before its answer is read; all long answers that are still to be read
take no more than ``UNREAD_BYTES``.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Generator
from time import monotonic
from typing import Any
from urllib.parse import parse_qs

from datasette import Response, hookimpl

from tmon_pages.sending import PIECE_BYTES, Message, Send, Unread, send_in_pieces

PLACES = 2  # in each lane
WAIT_S = 10.0  # for a place; then a request is told to come again
ROOM_S = 5.0  # for a long answer's room among those that are still to be read
RETRY_S = "10"
PAUSE_EVERY_S = 0.02
UNREAD_BYTES = 16 * 1024 * 1024
PATIENCE = "tmon.wait_s"  # in the scope of a stream's own request: how long it may wait

# Paths below the station's own; what fits none of them is a table or another of Datasette's pages.
FREE = re.compile(r"/(-/)?static/|/favicon\.ico$|/robots\.txt$|/download/")
HOME = re.compile(r"/$")
PAGES = re.compile(r"/node/|/download$|/datapackage\.json$|/sitemap|/incidents\.atom$")
SQL = re.compile(r"/[^/]+/-/(query|queries/analyze|execute-write)")
SQL_PARAMETERS = frozenset(("sql", "_where"))

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Room:
    """So many bytes, for answers that are still to be read."""

    def __init__(self, most: int) -> None:
        self._most = self._left = most
        self._changed = asyncio.Event()

    async def take(self, length: int) -> int:
        """Wait for room; a longer answer than all of it takes all of it."""
        length = min(length, self._most)
        while self._left < length:
            self._changed.clear()
            await self._changed.wait()
        self._left -= length
        return length

    def give_back(self, length: int) -> None:
        self._left += length
        self._changed.set()


class Admission:
    """The lanes of one station."""

    def __init__(self, datasette: Any) -> None:
        self._datasette = datasette
        self._home, self._pages, self._tables, self._sql = (
            asyncio.Semaphore(PLACES) for _ in range(4)
        )
        self._room = Room(UNREAD_BYTES)

    async def answer(self, app: App, scope: Scope, receive: Receive, send: Send) -> None:
        """Have a request answered when its turn has come."""
        lane = self._lane(scope)
        if lane is None:
            return await app(scope, receive, send)
        gone = asyncio.ensure_future(_gone(scope, receive))
        try:
            await asyncio.wait_for(lane.acquire(), scope.get(PATIENCE, WAIT_S))
        except TimeoutError:
            return await refuse(self._datasette, scope, send)
        finally:
            gone.cancel()
        if gone.done():  # meanwhile; nobody waits for an answer
            return lane.release()
        if PATIENCE in scope:  # its answer is read at once
            try:
                return await app(scope, receive, send)
            finally:
                lane.release()
        turn = _Turn(lane, self._room, send)
        try:
            await app(scope, receive, turn.send)
        finally:
            turn.end()
        if turn.refused:
            await refuse(self._datasette, scope, send)
        return None

    def _lane(self, scope: Scope) -> asyncio.Semaphore | None:
        """Where a request waits; None for what costs next to nothing."""
        path = scope["path"].removeprefix(self._datasette.setting("base_url").rstrip("/"))
        for pattern, lane in ((FREE, None), (HOME, self._home), (PAGES, self._pages)):
            if pattern.match(path):
                return lane
        query = scope.get("query_string", b"").decode("latin-1")
        asked = parse_qs(query, keep_blank_values=True)
        is_sql = SQL.match(path) or not SQL_PARAMETERS.isdisjoint(asked)
        return self._sql if is_sql else self._tables


async def _gone(scope: Scope, receive: Receive) -> None:
    """Wait until who asked closes the connection; what a stream asks of itself, for ever."""
    if PATIENCE in scope or scope["method"] not in {"GET", "HEAD"}:  # its body is still to be read
        await asyncio.Event().wait()
    while (await receive())["type"] != "http.disconnect":
        pass


class _Turn:
    """One request's turn: it ends with the answer, before that is read."""

    def __init__(self, lane: asyncio.Semaphore, room: Room, send: Send) -> None:
        self._lane: asyncio.Semaphore | None = lane
        self._room = room
        self._send = send
        self._start: Message | None = None  # goes out with the first of the body
        self._given_up = False
        self.refused = False

    def end(self) -> None:
        if self._lane is not None:
            self._lane.release()
            self._lane = None

    async def send(self, message: Message) -> None:
        """ASGI's ``send``; after what goes out no more, nothing does."""
        if self._given_up:
            return
        if message["type"] == "http.response.start":
            self._start = message
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        try:
            if len(body) > PIECE_BYTES:
                await self._send_long(body, more_body=more)
            else:
                await self._send_start()
                await send_in_pieces(self._send, body, more_body=more)
        except Unread:
            self._given_up = True

    async def _send_start(self) -> None:
        if self._start is not None:
            start, self._start = self._start, None
            await self._send(start)

    async def _send_long(self, body: bytes, *, more_body: bool) -> None:
        try:
            taken = await asyncio.wait_for(self._room.take(len(body)), ROOM_S)
        except TimeoutError:
            self._given_up = True
            self.refused = self._start is not None
            return
        try:
            if not more_body:
                self.end()
            await self._send_start()
            await send_in_pieces(self._send, body, more_body=more_body)
        finally:
            self._room.give_back(taken)


@hookimpl(wrapper=True)
def asgi_wrapper(datasette: Any) -> Generator[None, list[Any], list[Any]]:
    """Innermost of all: the pages that a CSV is made of wait for their turns as others do."""
    wrappers = yield
    admission = Admission(datasette)

    def limited(app: App) -> App:
        async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                return await app(scope, receive, send)
            return await admission.answer(app, scope, receive, send)

        return wrapped

    return [limited, *wrappers]


@hookimpl(wrapper=True)
def render_cell() -> Generator[None, list[Any], list[Any]]:
    """Between two cells of a long page others have their turn; Datasette would write it at once."""
    cells = yield
    return [_pauses.pause(), *cells] if _pauses.due() else cells


class _Pauses:
    """One every ``PAUSE_EVERY_S``."""

    def __init__(self) -> None:
        self._due_s = 0.0

    def due(self) -> bool:
        return monotonic() >= self._due_s

    async def pause(self) -> None:
        """Let others have their turn; as a cell's HTML it is None, which leaves it to the next."""
        await asyncio.sleep(0)
        self._due_s = monotonic() + PAUSE_EVERY_S


_pauses = _Pauses()


async def refuse(datasette: Any, scope: Scope, send: Send) -> None:
    """429, in the shape that Datasette's errors have."""
    told = "Too many ask at the moment. Try again in a few seconds."
    headers = {"retry-after": RETRY_S, "cache-control": "no-store"}
    if scope["path"].endswith(".json"):
        answer = Response.error(told, 429, headers=headers)
    elif scope["path"].endswith(".csv"):
        answer = Response.text(told, status=429, headers=headers)
    else:
        template = datasette.get_jinja_environment().get_template("error.html")
        context = {"ok": False, "error": told, "status": 429, "title": "Too many at once"}
        html = await template.render_async(context, urls=datasette.urls, menu_links=list)
        answer = Response.html(html, status=429, headers=headers)
    await answer.asgi_send(send)
