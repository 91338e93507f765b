"""Any selection of a table or view as CSV is the whole selection.

Datasette's own link hands out one page of 10,000 rows. Here the pages follow one
another (``selection.py``): 1 million readings take as long at the end as at the beginning.
"""

import asyncio
import csv
import io
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

from datasette import Response, hookimpl
from datasette.utils import tilde_decode

from tmon.pages.admission import refuse
from tmon.pages.selection import NoPage, Page, pages_of
from tmon.pages.sending import Unread, send_in_pieces
from tmon.pages.station import PUBLISHED_AS

STREAMS = 4  # at once: each goes on for as long as there are rows

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


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
                pages = pages_of(datasette, app, scope, table)
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


def _table(scope: Scope) -> str | None:
    asked = re.fullmatch(rf".*/{PUBLISHED_AS}/([^/]+)\.csv", scope.get("path", ""))
    return tilde_decode(asked[1]) if asked and scope.get("method") == "GET" else None


async def _exists(datasette: Any, table: str) -> bool:
    db = datasette.get_database(PUBLISHED_AS)
    return bool(await db.table_exists(table) or await db.view_exists(table))


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
