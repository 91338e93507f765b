"""A selection's pages, one after the other, each row on one of them while others come in.

They are Datasette's JSON. Rows of a table are found by their key, where ``paging.py`` has an
index find the place; those of a view by ``KEYS``.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl, urlencode

from datasette import hookimpl
from datasette.filters import FilterArguments
from datasette.utils.asgi import BadRequest

from tmon.pages.admission import PATIENCE, WAIT_S
from tmon.pages.station import PUBLISHED_AS

AGAIN, PAUSE_S = 3, 1.0  # how often, and after which pause, a page is asked for once more
PAGE_WAIT_S = 60.0  # of a stream that has begun, for its next page

# Views whose rows have an order of their own: the columns that tell it, and which go downwards.
# Datasette counts off the rows of a view's earlier pages: while rows come in, some would be told
# twice and others not at all. Here the page after a row is what comes after its key.
KEYS: dict[str, tuple[tuple[str, bool], ...]] = {
    "daily": (("sensor", False), ("day_ms", False)),
    "daily_clean": (("sensor", False), ("day_ms", False)),
    "hourly": (("sensor", False), ("hour_ms", False)),
    "hourly_clean": (("sensor", False), ("hour_ms", False)),
    "readings_clean": (("measured_ms", True), ("sensor", False)),
    "latest": (("node", False), ("name", False)),
    "latest_clean": (("node", False), ("name", False)),
}
# Their rows never change, so that no order of them does; of other tables, that of the keys alone.
UNCHANGING = frozenset(("readings", "rejected"))
DAILY_SIZE = "2000"  # each the sum of 24 hours: 10,000 of them come near the time limit
SIZES = {"daily": DAILY_SIZE, "daily_clean": DAILY_SIZE}
SIZE = "5000"  # a page is held whole, and weighed: longer ones would take no less time
LONGEST_UNORDERED = "max"  # on one page, where a second one could repeat or leave out rows
UNORDERED = (
    "In this form the CSV has at most {:,} rows: it is put together from pages, and as others come"
    " in meanwhile, rows could be in it twice or not at all. Ask for fewer; or for all of them"
    " without _sort, _col and _nocol, to sort them afterwards."
)

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


@hookimpl
def filters_from_request(request: Any, database: str, table: str) -> Any:
    """What comes after the row whose key ``_after`` is, in the order of ``KEYS``."""
    after = request.args.get("_after")
    if database != PUBLISHED_AS or after is None or table not in KEYS:
        return None
    (first, first_down), (second, second_down) = KEYS[table]
    first_beyond = f"{first} {'<' if first_down else '>'}"
    second_beyond = f"{second} {'<' if second_down else '>'}"
    conditions = [
        f"{first_beyond}= :after_first",  # found in an index
        f"({first_beyond} :after_first or {second_beyond} :after_second)",
    ]
    return FilterArguments(
        conditions, dict(zip(("after_first", "after_second"), _key(after), strict=True))
    )


def _key(after: str) -> list[Any]:
    """What ``_after`` says.

    Raises:
        BadRequest: it isn't as a page before had it.
    """
    key = None
    with suppress(ValueError, RecursionError):
        key = json.loads(after)
    if not isinstance(key, list) or [type(part) in {int, str} for part in key] != [True, True]:
        raise BadRequest("There is no such page: _after is as an earlier page had it, or left out.")
    return key


async def pages_of(datasette: Any, app: App, scope: Scope, table: str) -> AsyncIterator[Page]:
    """The selection's pages.

    Raises:
        NoPage: Datasette refuses one, or there can be no second one.
    """
    asked = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    selection = [(name, value) for name, value in asked if name not in SHAPING]
    path = scope["path"].removesuffix(".csv") + ".json"
    keyed = table in KEYS and not await _is_sorted(datasette, table, selection)
    lasting = keyed or await _has_lasting_pages(datasette, table, selection)
    size = SIZES.get(table, SIZE) if lasting else LONGEST_UNORDERED
    after: list[tuple[str, str]] = []
    while True:
        query = urlencode([*selection, *PAGE, ("_size", size), *after])
        wait_s = PAGE_WAIT_S if after else WAIT_S
        there = {**scope, "path": path, "raw_path": path.encode(), PATIENCE: wait_s}
        page = await _page(app, there, query, again=AGAIN if after else 0)
        keys = _keys(page, table) if keyed else None
        if page["next"] and not (keys and _ascend(keys, table) if keyed else lasting):
            raise NoPage(400, {}, UNORDERED.format(datasette.max_returned_rows))
        yield page
        if not page["next"]:
            return
        after = [("_after", json.dumps(keys[-1]))] if keys else [("_next", page["next"])]


async def _is_sorted(datasette: Any, table: str, selection: list[tuple[str, str]]) -> bool:
    """Whether it is asked for in another order than its usual one."""
    usual = await datasette.table_config(PUBLISHED_AS, table)
    return any(
        name in {"_sort", "_sort_desc"} and value and value != usual.get(name[1:])
        for name, value in selection
    )


async def _has_lasting_pages(datasette: Any, table: str, selection: list[tuple[str, str]]) -> bool:
    """Whether the rows of a table are found by keys that no row changes meanwhile."""
    db = datasette.get_database(PUBLISHED_AS)
    if not await db.table_exists(table):
        return False
    sorts = {value for name, value in selection if name in {"_sort", "_sort_desc"} and value}
    usual = await datasette.table_config(PUBLISHED_AS, table)
    sorts = sorts or {usual[name] for name in ("sort", "sort_desc") if usual.get(name)}
    return table in UNCHANGING or sorts <= {*(await db.primary_keys(table) or ["rowid"])}


def _keys(page: Page, table: str) -> list[tuple[Any, ...]]:
    """Of each row; empty where the page doesn't have their columns."""
    columns = [column for column, _ in KEYS[table]]
    if not set(columns) <= {*page["columns"]}:
        return []
    places = [page["columns"].index(column) for column in columns]
    return [
        tuple(row[at]["value"] if isinstance(row[at], dict) else row[at] for at in places)
        for row in page["rows"]
    ]


def _ascend(keys: list[tuple[Any, ...]], table: str) -> bool:
    """Whether the rows are in the order that their keys have, each once."""
    down = [descends for _, descends in KEYS[table]]
    order = [
        tuple(-part if descends else part for part, descends in zip(key, down, strict=True))
        for key in keys
    ]
    return all(one < other for one, other in pairwise(order))


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
