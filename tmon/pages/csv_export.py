"""A table's or view's CSV has all rows of the selection.

Datasette's own link gives one page of 10,000 rows. Here the pages are fetched one after
another (``csv_pages.py``), so 1 million readings take as long at the end as at the beginning.
"""

import asyncio
import csv
import io
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs

from datasette import Response
from datasette.utils import tilde_decode
from starlette.types import ASGIApp, Receive, Scope, Send

from tmon.core.languages import gettext
from tmon.pages.asgi import Middleware, SlowClient, disconnected, send_in_chunks
from tmon.pages.csv_pages import Page, PageRefused, fetch_pages
from tmon.pages.queries import DATABASE
from tmon.pages.too_costly import MESSAGES

MAX_EXPORTS = 4  # at once: each runs for as long as there are rows


class CsvExport(Middleware):
    """Answers ``/tmon/TABLE.csv``; with a ``_size`` other than ``max`` Datasette does."""

    def __init__(self, app: ASGIApp, datasette: Any) -> None:
        super().__init__(app, datasette)
        self._running = asyncio.Semaphore(MAX_EXPORTS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._answer(scope, receive, send)
        except tuple(MESSAGES) as error:  # of our own questions; Datasette answers those of its own
            refusal = Response.text(gettext(MESSAGES[type(error)]), 400)
            await refusal.asgi_send(send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        table = await self._table(scope)
        if table is None:
            return await self.app(scope, receive, send)
        parameters = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if "_stream" not in parameters and parameters.get("_size", ["max"])[0] != "max":
            return await self.app(scope, receive, send)
        if self._running.locked():
            return await self.send_too_many_requests(scope, send)
        async with self._running:
            pages = fetch_pages(self.datasette, self.app, scope, table)
            try:
                first = await anext(pages)
            except PageRefused as error:
                if error.status < 400:  # a redirect, but of the JSON page: Datasette's own is right
                    return await self.app(scope, receive, send)
                response = Response.text(error.message, error.status, error.headers)
                await response.asgi_send(send)
                return None
            headers = _headers(table if "_dl" in parameters else None)
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            has_header = parameters.get("_header", [""])[0] != "off"
            return await _send_rows(first, pages, receive, send, has_header=has_header)

    async def _table(self, scope: Scope) -> str | None:
        """The table or view whose CSV is requested, if it exists."""
        path = re.fullmatch(rf".*/{DATABASE}/([^/]+)\.csv", scope.get("path", ""))
        if not path or scope.get("method") != "GET":
            return None
        table: str = tilde_decode(path[1])
        db = self.datasette.get_database(DATABASE)
        return table if await db.table_exists(table) or await db.view_exists(table) else None


def _headers(filename: str | None) -> list[tuple[bytes, bytes]]:
    if filename is None:
        return [(b"content-type", b"text/plain; charset=utf-8")]
    filename = re.sub(r"[^\w.-]", "_", filename, flags=re.ASCII)
    return [
        (b"content-type", b"text/csv; charset=utf-8"),
        (b"content-disposition", f'attachment; filename="{filename}.csv"'.encode()),
    ]


async def _send_rows(
    page: Page, others: AsyncIterator[Page], receive: Receive, send: Send, *, has_header: bool
) -> None:
    """Send the rows of all pages for as long as the client reads them.

    When a later page is refused, the body stays incomplete: the server then closes the
    connection, so that no program mistakes a part for the whole.
    """
    labelled = {
        place for row in page["rows"] for place, cell in enumerate(row) if isinstance(cell, dict)
    }
    header = [_header(page["columns"], labelled)] if has_header else []
    gone = asyncio.ensure_future(disconnected(receive))
    try:
        while not gone.done():
            text = io.StringIO()
            csv.writer(text).writerows([*header, *(_cells(row, labelled) for row in page["rows"])])
            body, header, has_next = text.getvalue().encode(), [], bool(page["next"])
            del page, text  # a slow client keeps only the bytes in memory
            await send_in_chunks(send, body, more_body=has_next)
            if not has_next:
                return
            page = await anext(others)
    except (PageRefused, SlowClient):
        return
    finally:
        gone.cancel()


def _header(columns: list[str], labelled: set[int]) -> list[str]:
    """Column names; a column with labels, such as a foreign key, becomes two."""
    return [
        heading
        for place, name in enumerate(columns)
        for heading in ((name, f"{name}_label") if place in labelled else (name,))
    ]


def _cells(row: list[Any], labelled: set[int]) -> list[Any]:
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
