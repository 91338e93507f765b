"""Any selection of a table or view as CSV is the whole selection.

Datasette's own link hands out one page of 10,000 rows. Here the pages follow one
another, each from Datasette's JSON, where ``_next`` finds its place in an index
(``paging.py``): 1 million readings take as long at the end as at the beginning.
"""

import asyncio
import csv
import io
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode

from datasette import Response, hookimpl
from datasette.filters import FilterArguments
from datasette.utils import tilde_decode

from tmon_pages.admission import PATIENCE, WAIT_S, refuse
from tmon_pages.sending import Unread, send_in_pieces

PUBLISHED_AS = "tmon"
STREAMS = 4  # at once: each goes on for as long as there are rows
AGAIN, PAUSE_S = 3, 1.0  # how often, and after which pause, a page is asked for once more
PAGE_WAIT_S = 60.0  # of a stream that has begun, for its next page

# Datasette counts off the rows of a view's earlier pages, each computed, over and over.
KEYS = {  # in the order of their rows
    "daily": ("sensor", "day_ms"),
    "daily_clean": ("sensor", "day_ms"),
    "hourly_clean": ("sensor", "hour_ms"),
}
DAILY_SIZE = "2000"  # each the sum of 24 hours: 10,000 of them come near the time limit
SIZES = {"daily": DAILY_SIZE, "daily_clean": DAILY_SIZE}
SIZE = "5000"  # a page is held whole, and weighed: longer ones would take no less time
NEWEST_FIRST = "readings_clean"

# What shapes an answer, not what is selected.
SHAPING = frozenset(
    (
        *("_stream", "_size", "_next", "_after", "_shape", "_nl", "_extra"),
        *("_facet", "_dl", "_header", "_trace"),
    )
)
PAGE = (("_shape", "arrays"), ("_extra", "columns"), ("_nocount", "1"), ("_nofacet", "1"))

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Page = dict[str, Any]


class NoPage(Exception):
    """Datasette refused a page, with this status and sentence."""

    def __init__(self, status: int, headers: dict[str, str], told: str) -> None:
        super().__init__(told)
        self.status = status
        self.headers = headers
        self.told = told


@hookimpl(tryfirst=True)  # innermost, so that its answers carry the security headers too
def asgi_wrapper(datasette: Any) -> Callable[[App], App]:
    """Answer ``/tmon/<table or view>.csv``; a ``_size`` other than ``max`` is Datasette's."""
    streaming = asyncio.Semaphore(STREAMS)

    def whole(app: App) -> App:
        async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
            table = _table(scope)
            if not table or not await _exists(datasette, table):
                return await app(scope, receive, send)
            asked = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
            if "_stream" not in asked and asked.get("_size", ["max"])[0] != "max":
                return await app(scope, receive, send)
            if streaming.locked():
                return await refuse(datasette, scope, send)
            async with streaming:
                pages = _pages(app, scope)
                try:
                    first = await anext(pages)
                except NoPage as error:
                    if error.status < 400:  # to a better address, which is not that page's
                        return await app(scope, receive, send)
                    answer = Response.text(error.told, error.status, error.headers)
                    await answer.asgi_send(send)
                    return None
                return await _send_all(first, pages, asked, table, receive, send)

        return wrapped

    return whole


@hookimpl
def filters_from_request(request: Any, database: str, table: str) -> Any:
    """What comes after the row ``_after`` names, or else from an instant on backwards."""
    after = re.fullmatch(r"(?:(\d{1,15}),)?(-?\d{1,15})", request.args.get("_after", ""), re.ASCII)
    if database != PUBLISHED_AS or after is None:
        return None
    edge = {"after_sensor": int(after[1] or 0), "after_ms": int(after[2])}
    if table == NEWEST_FIRST:
        return FilterArguments(["measured_ms <= :after_ms"], edge)
    if table not in KEYS:
        return None
    _, start = KEYS[table]
    beyond = f"(sensor > :after_sensor or {start} > :after_ms)"
    return FilterArguments(["sensor >= :after_sensor", beyond], edge)


def _table(scope: Scope) -> str | None:
    asked = re.fullmatch(rf".*/{PUBLISHED_AS}/([^/]+)\.csv", scope.get("path", ""))
    return tilde_decode(asked[1]) if asked and scope.get("method") == "GET" else None


async def _exists(datasette: Any, table: str) -> bool:
    db = datasette.get_database(PUBLISHED_AS)
    return bool(await db.table_exists(table) or await db.view_exists(table))


async def _pages(app: App, scope: Scope) -> AsyncIterator[Page]:
    """The selection's pages.

    Raises:
        NoPage: Datasette refuses one.
    """
    asked = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    selection = [(name, value) for name, value in asked if name not in SHAPING]
    path = scope["path"].removesuffix(".csv") + ".json"
    ordered = any(name in {"_sort", "_sort_desc"} for name, _ in selection)
    table = (not ordered and _table(scope)) or ""
    size = SIZES.get(table, SIZE)
    after: list[tuple[str, str]] = []
    while True:
        query = urlencode([*selection, *PAGE, ("_size", size), *after])
        wait_s = PAGE_WAIT_S if after else WAIT_S
        there = {**scope, "path": path, "raw_path": path.encode(), PATIENCE: wait_s}
        page = await _page(app, there, query, again=AGAIN if after else 0)
        yield page
        if not page["next"]:
            return
        after = _following(page, table, dict(after))


def _following(page: Page, table: str, asked: dict[str, str]) -> list[tuple[str, str]]:
    """What asks for the page after this one, for which ``asked`` did."""
    keys = ("measured_ms",) if table == NEWEST_FIRST else KEYS.get(table, ())
    if not keys or not set(keys) <= set(page["columns"]):
        return [("_next", page["next"])]
    last = dict(zip(page["columns"], page["rows"][-1], strict=True))
    after = ",".join(str(last[key]) for key in keys)
    if table != NEWEST_FIRST:
        return [("_after", after)]
    # Some of the same instant were told, and are passed over.
    place = page["columns"].index("measured_ms")
    told = sum(row[place] == last["measured_ms"] for row in page["rows"])
    told += int(asked["_next"]) if asked.get("_after") == after else 0
    return [("_after", after), ("_next", str(told))]


async def _page(app: App, scope: Scope, query: str, *, again: int) -> Page:
    """A page; of a stream that has begun it is asked for again where it took too long."""
    try:
        return await _ask(app, scope, query)
    except NoPage:
        if not again:
            raise
    await asyncio.sleep(PAUSE_S)
    return await _page(app, scope, query, again=again - 1)


async def _ask(app: App, scope: Scope, query: str) -> Page:
    answer: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def keep(message: Message) -> None:
        answer.append(message)

    await app({**scope, "query_string": query.encode("latin-1")}, receive, keep)
    body = b"".join(message.get("body", b"") for message in answer)
    status = answer[0]["status"]
    if status == 200:
        page: Page = json.loads(body)
        return page
    headers = {name.decode(): value.decode() for name, value in answer[0]["headers"]}
    again = {name: value for name, value in headers.items() if name == "retry-after"}
    raise NoPage(status, again, json.loads(body)["error"] if status >= 400 else "")


async def _send_all(  # noqa: PLR0913, PLR0917
    page: Page,
    others: AsyncIterator[Page],
    asked: dict[str, list[str]],
    table: str,
    receive: Receive,
    send: Send,
) -> None:
    """All pages as one answer, as long as somebody reads it.

    Left without its end when a later page is refused: the server then breaks the
    connection, so that no program takes a part for the whole.
    """
    await send({"type": "http.response.start", "status": 200, "headers": _headers(asked, table)})
    labelled = _labelled(page)
    heading = (
        [] if asked.get("_header", [""])[0] == "off" else [_headings(page["columns"], labelled)]
    )
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        while not gone.done():
            body = _csv([*heading, *(_flat(row, labelled) for row in page["rows"])])
            has_next, heading = bool(page["next"]), []
            del page  # who reads slowly keeps its text alone
            await send_in_pieces(send, body, more_body=has_next)
            if not has_next:
                return
            page = await anext(others)
    except (NoPage, Unread):
        return
    finally:
        gone.cancel()


def _headers(asked: dict[str, list[str]], table: str) -> list[tuple[bytes, bytes]]:
    if "_dl" not in asked:
        return [(b"content-type", b"text/plain; charset=utf-8")]
    filename = re.sub(r"[^\w.-]", "_", table, flags=re.ASCII)
    return [
        (b"content-type", b"text/csv; charset=utf-8"),
        (b"content-disposition", f'attachment; filename="{filename}.csv"'.encode()),
    ]


def _labelled(page: Page) -> set[int]:
    """The places of the columns whose cells come with a label."""
    return {
        place for row in page["rows"] for place, cell in enumerate(row) if isinstance(cell, dict)
    }


def _headings(columns: list[str], labelled: set[int]) -> list[str]:
    return [
        heading
        for place, name in enumerate(columns)
        for heading in ((name, f"{name}_label") if place in labelled else (name,))
    ]


def _flat(row: list[Any], labelled: set[int]) -> list[Any]:
    if not labelled:
        return row
    cells: list[Any] = []
    for place, cell in enumerate(row):
        if place not in labelled:
            cells.append(cell)
        elif isinstance(cell, dict):
            cells += [cell["value"], cell["label"]]
        else:
            cells += [cell, ""]
    return cells


def _csv(rows: list[list[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
