"""Pages of readings that cost the same however far back they lie.

Datasette asks for the page after a reading with ``measured_ms < :p or measured_ms
is null or …``, for which SQLite scans the whole table: 0.5 s at 2 million readings.
"""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from typing import Any

from datasette import hookimpl
from datasette.filters import FilterArguments
from datasette.utils import path_with_replaced_args
from datasette.utils.asgi import BadRequest

MOST_ROWS = 1000  # on a page for people: 10,000 took 2 s of the processor, and 80 MB
TABLE = re.compile(r"/tmon/[^/.]+")
SIZE = re.compile(rb"((?:^|&)_size=)(max|\d+)(?=&|$)")

INSTANT = re.compile(r"-?\d{1,15}", re.ASCII)
OFFSET = re.compile(r"\d{1,15}", re.ASCII)
CURSOR = re.compile(r"(-?\d{1,15}),(\d{1,15}),\1", re.ASCII)

# What a page may be filtered by and still know the page of later readings.
FILTERS = re.compile(r"(sensor|measured_ms)(?:__(exact|gt|gte|lt|lte))?")
COMPARISONS = {None: "=", "exact": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}

App = Callable[..., Awaitable[None]]


@hookimpl
def asgi_wrapper() -> Callable[[App], App]:
    """Count nothing on such a page: it would be what is left, not what there is.

    And no page for people has more rows than ``MOST_ROWS``.
    """
    return _bounded


def _bounded(app: App) -> App:
    async def wrapped(scope: MutableMapping[str, Any], *channels: Any) -> None:
        query = scope.get("query_string", b"")
        if scope.get("path") == "/tmon/readings" and b"_next=" in query:
            query += b"&_nocount=1"
        if TABLE.fullmatch(scope.get("path", "")):
            query = SIZE.sub(_no_more_rows, query)
        await app({**scope, "query_string": query}, *channels)

    return wrapped


def _no_more_rows(size: re.Match[bytes]) -> bytes:
    most = size[2] == b"max" or (len(size[2]) < 10 and int(size[2]) > MOST_ROWS)
    return size[1] + (str(MOST_ROWS).encode() if most else size[2])


@hookimpl
async def filters_from_request(datasette: Any, request: Any, database: str, table: str) -> Any:
    """Add to such a page the one condition that SQLite finds in its index."""
    token = request.args.get("_next")
    if not token:
        return None
    sort, sort_desc = await _order(datasette, request, database, table)
    await _check(token, datasette.get_database(database), table, in_order=bool(sort or sort_desc))
    edge = token.split(",")[0]
    if (database, table) != ("tmon", "readings") or not INSTANT.fullmatch(edge):
        return None
    if "measured_ms" not in {sort, sort_desc}:
        return None
    beyond = "measured_ms >= :edge_ms" if sort else "measured_ms <= :edge_ms"
    return FilterArguments([beyond], {"edge_ms": int(edge)})


@hookimpl
def extra_template_vars(
    datasette: Any, request: Any, view_name: str, database: str, table: str
) -> Callable[[], Awaitable[Mapping[str, Any]]] | None:
    """``pages`` for readings, newest first: the addresses of the later and the newest ones."""
    if view_name != "table" or (database, table) != ("tmon", "readings"):
        return None

    async def variables() -> Mapping[str, Any]:
        sort, sort_desc = await _order(datasette, request, database, table)
        newest_first = not sort and sort_desc == "measured_ms"
        return {"pages": await _back(datasette, request) if newest_first else None}

    return variables


async def _back(datasette: Any, request: Any) -> Mapping[str, str]:
    """The ways back from a page after the first; ``later`` is left out where it can't be told.

    The newest are those that a clock ahead of ours didn't date: the first page may have others.
    """
    cursor = CURSOR.fullmatch(request.args.get("_next", ""))
    conditions = list(_conditions(request))
    known = [one for one in conditions if one]
    ahead = None if None in conditions else await _behind_those_ahead(datasette, known)
    if cursor is None and ahead is None:
        return {}

    def address(**arguments: str | None) -> str:
        path: str = datasette.urls.path(path_with_replaced_args(request, arguments))
        return path

    first = address(_next=None, _nocount=None)
    newest = address(_next=ahead) if ahead else first
    if cursor is None or None in conditions:
        return {"newest": newest}
    before = await _row_before(datasette, request, cursor, known)
    return {"newest": newest, "later": address(_next=before) if before else first}


async def _behind_those_ahead(datasette: Any, conditions: list[tuple[str, int]]) -> str | None:
    """The cursor behind readings more than 10 minutes ahead, as the view `latest` passes over."""
    where, parameters = _where(conditions)
    found = await datasette.get_database("tmon").execute(
        "select (unixepoch() + 600) * 1000 as edge_ms where exists ("
        f"select 1 from readings where measured_ms > (unixepoch() + 600) * 1000{where})",
        parameters,
    )
    row = found.first()
    return f"{row['edge_ms']},0,{row['edge_ms']}" if row else None


def _where(conditions: list[tuple[str, int]]) -> tuple[str, dict[str, int]]:
    """SQL that goes on after other conditions, and its parameters."""
    where = "".join(f" and {sql} :p{place}" for place, (sql, _) in enumerate(conditions))
    return where, {f"p{place}": number for place, (_, number) in enumerate(conditions)}


def _conditions(request: Any) -> Iterator[tuple[str, int] | None]:
    """The page's filters as SQL and its number; None for one that is not among ``FILTERS``."""
    for name in request.args:
        if name.startswith("_") and "__" not in name and name != "_where":
            continue
        known = FILTERS.fullmatch(name)
        for value in request.args.getlist(name):
            if known and INSTANT.fullmatch(value):
                yield f"{known[1]} {COMPARISONS[known[2]]}", int(value)
            else:
                yield None


async def _row_before(
    datasette: Any, request: Any, cursor: re.Match[str], conditions: list[tuple[str, int]]
) -> str | None:
    """The cursor of the page that ends with this page's own, found in the index backwards.

    None when that is the first page.
    """
    where, parameters = _where(conditions)
    found = await datasette.get_database("tmon").execute(
        "select measured_ms, sensor from readings where measured_ms >= :ms"
        f" and (measured_ms > :ms or sensor <= :sensor){where}"
        " order by measured_ms, sensor desc limit 1 offset :size",
        {
            **parameters,
            "ms": int(cursor[1]),
            "sensor": int(cursor[2]),
            "size": _page_size(datasette, request),
        },
    )
    row = found.first()
    return f"{row['measured_ms']},{row['sensor']},{row['measured_ms']}" if row else None


def _page_size(datasette: Any, request: Any) -> int:
    """Readings on a page, as Datasette takes ``_size``, which it has checked by now."""
    asked = request.args.get("_size") or datasette.setting("default_page_size")
    return int(datasette.setting("max_returned_rows") if asked == "max" else asked)


async def _order(datasette: Any, request: Any, database: str, table: str) -> tuple[Any, Any]:
    """The columns that the page is sorted by, upwards and downwards, as Datasette finds them."""
    asked = request.args.get("_sort"), request.args.get("_sort_desc")
    config = await datasette.table_config(database, table)
    return asked if any(asked) else (config.get("sort"), config.get("sort_desc"))


async def _check(token: str, db: Any, table: str, *, in_order: bool) -> None:
    """Refuse what Datasette never gave as ``next``; it would make broken SQL of it."""
    if await db.view_exists(table):
        genuine = OFFSET.fullmatch(token) is not None
    else:
        keys = len(await db.primary_keys(table)) or 1  # the rowid
        genuine = len(token.split(",")) == keys + in_order
    if not genuine:
        raise BadRequest("There is no such page: _next is as an earlier page gave it, or left out.")
