"""How many requests are worked on at once; the others wait for their turn.

What is worked on takes memory and the processor's time, what waits takes next to none. Each
lane has places of its own, so that strangers' SQL leaves those of tables and of our pages alone.
A request leaves its place before its answer is read; all long answers that are still to be read
take no more than ``UNREAD_BYTES``.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Generator, Mapping
from time import monotonic
from typing import Any
from urllib.parse import parse_qs

from datasette import hookimpl

from tmon.pages.errors import send_error
from tmon.pages.limited import Rendering, rendering
from tmon.pages.sending import PIECE_BYTES, Message, Send, Unread, send_in_pieces

PLACES = 2  # in each lane
WAIT_S = 10.0  # for a place; then a request is told to come again
ROOM_S = 5.0  # for a long answer's room among those that are still to be read
TURN_S = 12.0  # for the answer to be made, by Datasette's own pages: each statement has a second
RETRY_S = "10"
PAUSE_EVERY_S = 0.02
UNREAD_BYTES = 16 * 1024 * 1024
ANSWER_BYTES = 32 * 1024 * 1024  # of one answer; what its rows may weigh makes 24 MiB at most
PATIENCE = "tmon.wait_s"  # in the scope of a stream's own request: how long it may wait

# Paths below the station's own; what fits none of them is a table or another of Datasette's pages.
FREE = re.compile(r"/(-/)?static/|/favicon\.ico$|/robots\.txt$|/download/")
HOME = re.compile(r"/$")
PAGES = re.compile(r"/node/|/download$|/datapackage\.json$|/sitemap|/incidents\.atom$")
SQL = re.compile(r"/[^/]+/-/(query|queries/analyze|execute-write)")
SQL_PARAMETERS = frozenset(("sql", "_where"))

BUSY = "busy"
TOO_SLOW = "This takes longer than a request may. Ask for less at a time."
TOO_LONG = "This answer is longer than one may be. Ask for less at a time."

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
        path = scope["path"].removeprefix(self._datasette.setting("base_url").rstrip("/"))
        query = scope.get("query_string", b"").decode("latin-1")
        asked = parse_qs(query, keep_blank_values=True)
        lane = self._lane(path, asked)
        if lane is None:
            return await app(scope, receive, send)
        rendering.set(Rendering.of(path, asked, len(query)))
        gone = asyncio.ensure_future(_gone(scope, receive))
        try:
            await asyncio.wait_for(lane.acquire(), scope.get(PATIENCE, WAIT_S))
        except TimeoutError:
            gone.cancel()
            return await refuse(self._datasette, scope, send)
        turn = _Turn(lane, self._room, send)
        try:
            if not gone.done():  # or nobody waits for an answer
                limit_s = TURN_S if lane in {self._tables, self._sql} else None
                await _within(limit_s, gone, app(scope, receive, turn.collect))
                await turn.send_answer(at_once=PATIENCE in scope)
        except TimeoutError:
            turn.refusal = None if gone.done() else TOO_SLOW
        finally:
            gone.cancel()
            turn.end()
        if turn.refusal == BUSY:
            await refuse(self._datasette, scope, send)
        elif turn.refusal:
            title = "Too much at once"
            await send_error(self._datasette, scope, send, 400, turn.refusal, title=title)
        return None

    def _lane(self, path: str, asked: Mapping[str, list[str]]) -> asyncio.Semaphore | None:
        """Where a request waits; None for what costs next to nothing."""
        for pattern, lane in ((FREE, None), (HOME, self._home), (PAGES, self._pages)):
            if pattern.match(path):
                return lane
        is_sql = SQL.match(path) or not SQL_PARAMETERS.isdisjoint(asked)
        return self._sql if is_sql else self._tables


async def _gone(scope: Scope, receive: Receive) -> None:
    """Wait until who asked closes the connection; what a stream asks of itself, for ever."""
    if PATIENCE in scope:
        await asyncio.Event().wait()
    while (await receive())["type"] != "http.disconnect":
        pass


async def _within(limit_s: float | None, gone: asyncio.Future[None], work: Awaitable[None]) -> None:
    """Await work for so long, and no longer than somebody waits for its answer; None: to its end.

    Raises:
        TimeoutError: it was cancelled.
    """
    if limit_s is None:
        return await work
    async with asyncio.timeout(limit_s) as limit:

        def leave(_: asyncio.Future[None]) -> None:
            if not limit.expired():
                limit.reschedule(0)

        gone.add_done_callback(leave)
        try:
            await work
        finally:
            gone.remove_done_callback(leave)


class _Turn:
    """One request's turn: its answer is made, then its place given back, then the answer read."""

    def __init__(self, lane: asyncio.Semaphore, room: Room, send: Send) -> None:
        self._lane: asyncio.Semaphore | None = lane
        self._room = room
        self._send = send
        self._start: Message = {}
        self._pieces: list[bytes] = []
        self._length = 0
        self.refusal: str | None = None

    def end(self) -> None:
        if self._lane is not None:
            self._lane.release()
            self._lane = None

    async def collect(self, message: Message) -> None:
        """ASGI's ``send`` for who makes the answer."""
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._length += len(message.get("body", b""))
        self._pieces.append(message.get("body", b""))
        if self._length > ANSWER_BYTES:
            self._pieces.clear()
            self.refusal = TOO_LONG

    async def send_answer(self, *, at_once: bool) -> None:
        """Give the place back and send the answer; ``at_once``: it is read by a stream of ours."""
        if self.refusal:
            return
        body = b"".join(self._pieces)
        self._pieces.clear()
        if at_once:
            await self._send(self._start)
            await self._send({"type": "http.response.body", "body": body})
            return
        taken = 0
        try:
            if len(body) > PIECE_BYTES:
                taken = await asyncio.wait_for(self._room.take(len(body)), ROOM_S)
            self.end()
            await self._send(self._start)
            await send_in_pieces(self._send, body, more_body=False)
        except TimeoutError:
            self.refusal = BUSY
        except Unread:
            pass
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
    message = "Too many ask at the moment. Try again in a few seconds."
    headers = {"retry-after": RETRY_S}
    await send_error(
        datasette, scope, send, 429, message, title="Too many at once", headers=headers
    )
