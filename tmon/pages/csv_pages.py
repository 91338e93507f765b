"""The pages of a selection, for a CSV: each row once, even while new rows arrive.

The pages are Datasette's JSON. The rows of a table are found by their key, for which
``paging.py`` makes use of an index; those of a view by ``VIEW_KEYS``.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl, urlencode

from datasette import hookimpl
from datasette.filters import FilterArguments
from datasette.utils.asgi import BadRequest
from starlette.types import ASGIApp, Message, Scope

from tmon.core.languages import gettext
from tmon.pages.concurrency import QUEUE_TIMEOUT_KEY, QUEUE_TIMEOUT_S
from tmon.pages.queries import DATABASE

RETRIES, RETRY_PAUSE_S = 3, 1.0  # for a page after the first
LATER_PAGE_TIMEOUT_S = 60.0  # in the queue, once the CSV has begun

# The key of each view whose rows have a fixed order: column, and whether it is descending.
# Datasette pages through a view by OFFSET: while rows arrive, some would come twice and others
# not at all. Here the next page begins after the key of the last row.
VIEW_KEYS: dict[str, tuple[tuple[str, bool], ...]] = {
    "daily": (("sensor", False), ("day_ms", False)),
    "daily_clean": (("sensor", False), ("day_ms", False)),
    "hourly": (("sensor", False), ("hour_ms", False)),
    "hourly_clean": (("sensor", False), ("hour_ms", False)),
    "readings_clean": (("measured_ms", True), ("sensor", False)),
    "latest": (("node", False), ("name", False)),
    "latest_clean": (("node", False), ("name", False)),
}
# Their rows never change, so any order is stable. Other tables are stable by primary key only.
IMMUTABLE = frozenset(("readings", "rejected"))
PAGE_SIZE = "5000"  # each page is held in memory; longer ones would be no faster
# Each row of these sums 24 hours: 10,000 rows come near the time limit.
PAGE_SIZES = {"daily": "2000", "daily_clean": "2000"}
SINGLE_PAGE_SIZE = "max"  # where a second page could repeat or leave out rows
UNSTABLE_ORDER = (
    "In this form the CSV has at most {:,} rows: it is put together from pages, and as new rows"
    " come in, some could be in it twice or not at all. Ask for fewer rows; or for all of them"
    " without _sort, _col and _nocol, and sort them afterwards."
)

# Parameters for the form of an answer; they select nothing.
FORMAT_PARAMETERS = frozenset(
    (
        *("_stream", "_size", "_next", "_after", "_shape", "_nl", "_extra"),
        *("_facet", "_dl", "_header", "_trace"),
    )
)
PAGE_PARAMETERS = (
    *(("_shape", "arrays"), ("_extra", "columns")),
    *(("_nocount", "1"), ("_nofacet", "1")),
)

Page = dict[str, Any]


class PageRefused(Exception):
    """Datasette answered a page with this status and message, or redirected."""

    def __init__(self, status: int, headers: dict[str, str], message: str) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        self.message = message


@hookimpl
def filters_from_request(request: Any, database: str, table: str) -> Any:
    """Select the rows of a view after the key in ``_after``, a JSON array."""
    after = request.args.get("_after")
    if database != DATABASE or after is None or table not in VIEW_KEYS:
        return None
    key = None
    with suppress(ValueError, RecursionError):
        key = json.loads(after)
    if not isinstance(key, list) or [type(part) in {int, str} for part in key] != [True, True]:
        message = gettext(
            "There is no such page: _after is as an earlier page had it, or left out."
        )
        raise BadRequest(message)
    (first, first_down), (second, second_down) = VIEW_KEYS[table]
    first_beyond = f"{first} {'<' if first_down else '>'}"
    second_beyond = f"{second} {'<' if second_down else '>'}"
    conditions = [
        f"{first_beyond}= :after_first",  # found in an index
        f"({first_beyond} :after_first or {second_beyond} :after_second)",
    ]
    return FilterArguments(conditions, dict(zip(("after_first", "after_second"), key, strict=True)))


async def fetch_pages(
    datasette: Any, app: ASGIApp, scope: Scope, table: str
) -> AsyncIterator[Page]:
    """Yield the selection's pages.

    Raises:
        PageRefused: Datasette refused one, or the order allows only one.
    """
    parameters = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    selection = [(name, value) for name, value in parameters if name not in FORMAT_PARAMETERS]
    path = scope["path"].removesuffix(".csv") + ".json"
    config = await datasette.table_config(DATABASE, table)
    by_view_key = table in VIEW_KEYS and not any(
        name in {"_sort", "_sort_desc"} and value and value != config.get(name[1:])
        for name, value in selection
    )
    stable = by_view_key or await _is_stable(datasette, table, selection, config)
    size = PAGE_SIZES.get(table, PAGE_SIZE) if stable else SINGLE_PAGE_SIZE
    after: list[tuple[str, str]] = []
    while True:
        query = urlencode([*selection, *PAGE_PARAMETERS, ("_size", size), *after])
        timeout_s = LATER_PAGE_TIMEOUT_S if after else QUEUE_TIMEOUT_S
        page_scope = {
            **scope,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode("latin-1"),
            QUEUE_TIMEOUT_KEY: timeout_s,
        }
        page = await _fetch_page(app, page_scope, retries=RETRIES if after else 0)
        keys = _row_keys(page, table) if by_view_key else None
        if page["next"] and not (keys and _in_order(keys, table) if by_view_key else stable):
            raise PageRefused(400, {}, UNSTABLE_ORDER.format(datasette.max_returned_rows))
        yield page
        if not page["next"]:
            return
        after = [("_after", json.dumps(keys[-1]))] if keys else [("_next", page["next"])]


async def _is_stable(
    datasette: Any, table: str, selection: list[tuple[str, str]], config: dict[str, Any]
) -> bool:
    """Whether a table is sorted by columns that never change in a row."""
    db = datasette.get_database(DATABASE)
    if not await db.table_exists(table):
        return False
    sorts = {value for name, value in selection if name in {"_sort", "_sort_desc"} and value}
    sorts = sorts or {config[name] for name in ("sort", "sort_desc") if config.get(name)}
    return table in IMMUTABLE or sorts <= {*(await db.primary_keys(table) or ["rowid"])}


def _row_keys(page: Page, table: str) -> list[tuple[Any, ...]]:
    """The key of each row; empty when the page lacks a column of it."""
    columns = [column for column, _ in VIEW_KEYS[table]]
    if not set(columns) <= {*page["columns"]}:
        return []
    places = [page["columns"].index(column) for column in columns]
    return [
        tuple(row[at]["value"] if isinstance(row[at], dict) else row[at] for at in places)
        for row in page["rows"]
    ]


def _in_order(keys: list[tuple[Any, ...]], table: str) -> bool:
    """Whether the rows are in the order of their keys, without duplicates."""
    down = [descends for _, descends in VIEW_KEYS[table]]
    order = [
        tuple(-part if descends else part for part, descends in zip(key, down, strict=True))
        for key in keys
    ]
    return all(one < other for one, other in pairwise(order))


async def _fetch_page(app: ASGIApp, scope: Scope, *, retries: int) -> Page:
    """Ask Datasette for one page, again when it is refused (it may have taken too long)."""
    for _ in range(retries):
        with suppress(PageRefused):
            return await _request(app, scope)
        await asyncio.sleep(RETRY_PAUSE_S)
    return await _request(app, scope)


async def _request(app: ASGIApp, scope: Scope) -> Page:
    messages: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def collect(message: Message) -> None:
        messages.append(message)

    await app(scope, receive, collect)
    body = b"".join(message.get("body", b"") for message in messages)
    status = messages[0]["status"]
    if status == 200:
        page: Page = json.loads(body)
        return page
    headers = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
    kept = {name: value for name, value in headers.items() if name == "retry-after"}
    raise PageRefused(status, kept, json.loads(body)["error"] if status >= 400 else "")
