"""Pages of readings that cost the same however far back they are.

Datasette selects the page after a reading with ``measured_ms < :p or measured_ms is null or …``,
for which SQLite scans the whole table: 0.5 s with 2 million readings.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from datasette import hookimpl
from datasette.filters import FilterArguments
from datasette.utils import path_with_replaced_args
from datasette.utils.asgi import BadRequest
from starlette.types import Receive, Scope, Send

from tmon.core.languages import gettext
from tmon.pages.asgi import Middleware
from tmon.pages.queries import DATABASE

MAX_ROWS = 1000  # on an HTML page: 10,000 took 2 s of CPU time and 80 MB
TABLE_PATH = re.compile(r"/tmon/[^/.]+")
SIZE = re.compile(rb"((?:^|&)_size=)(max|\d+)(?=&|$)")

INSTANT = re.compile(r"-?\d{1,15}", re.ASCII)
OFFSET = re.compile(r"\d{1,15}", re.ASCII)
CURSOR = re.compile(r"(-?\d{1,15}),(\d{1,15}),\1", re.ASCII)

# With these filters alone, a page can link to the page of later readings.
FILTERS = re.compile(r"(sensor|measured_ms)(?:__(exact|gt|gte|lt|lte))?")
COMPARISONS = {None: "=", "exact": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}

Condition = tuple[str, int]  # SQL and its number


class PageLimits(Middleware):
    """Limits HTML pages to ``MAX_ROWS``, and counts no rows on later pages of readings.

    Datasette would count only the rows that are left.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, query = scope.get("path", ""), scope.get("query_string", b"")
        if path == "/tmon/readings" and b"_next=" in query:
            query += b"&_nocount=1"
        if TABLE_PATH.fullmatch(path):
            query = SIZE.sub(_lowered, query)
        await self.app({**scope, "query_string": query}, receive, send)


def _lowered(size: re.Match[bytes]) -> bytes:
    """``_size``, at most ``MAX_ROWS``."""
    too_large = size[2] == b"max" or (len(size[2]) < 10 and int(size[2]) > MAX_ROWS)
    return size[1] + (str(MAX_ROWS).encode() if too_large else size[2])


@hookimpl
async def filters_from_request(datasette: Any, request: Any, database: str, table: str) -> Any:
    """Add the one condition for which SQLite uses the index on ``measured_ms``."""
    cursor = request.args.get("_next")
    if not cursor:
        return None
    sort, sort_desc = await _sort_columns(datasette, request, database, table)
    db = datasette.get_database(database)
    # Refuse what no page had as ``next``: Datasette would make invalid SQL of it.
    if await db.view_exists(table):
        is_valid = OFFSET.fullmatch(cursor) is not None
    else:
        keys = len(await db.primary_keys(table)) or 1  # the rowid
        is_valid = len(cursor.split(",")) == keys + bool(sort or sort_desc)
    if not is_valid:
        message = gettext(
            "There is no such page: _next is as an earlier page gave it, or left out."
        )
        raise BadRequest(message)
    edge = cursor.split(",")[0]
    if (database, table) != (DATABASE, "readings") or not INSTANT.fullmatch(edge):
        return None
    if "measured_ms" not in {sort, sort_desc}:
        return None
    beyond = "measured_ms >= :edge_ms" if sort else "measured_ms <= :edge_ms"
    return FilterArguments([beyond], {"edge_ms": int(edge)})


@hookimpl
def extra_template_vars(
    datasette: Any, request: Any, view_name: str, database: str, table: str
) -> Callable[[], Awaitable[Mapping[str, Any]]] | None:
    """Give the page of readings, newest first, links to later ones as ``pages``."""
    if view_name != "table" or (database, table) != (DATABASE, "readings"):
        return None

    async def variables() -> Mapping[str, Any]:
        sort, sort_desc = await _sort_columns(datasette, request, database, table)
        newest_first = not sort and sort_desc == "measured_ms"
        return {"pages": await _later_pages(datasette, request) if newest_first else None}

    return variables


async def _later_pages(datasette: Any, request: Any) -> Mapping[str, str]:
    """Links to the newest readings, and to the page before this one where it can be found.

    "Newest" skips readings in the future, which are on the first page.
    """
    cursor = CURSOR.fullmatch(request.args.get("_next", ""))
    conditions = _conditions(request)
    ahead = None if conditions is None else await _cursor_after_future(datasette, conditions)
    if cursor is None and ahead is None:
        return {}

    def url(**parameters: str | None) -> str:
        path: str = datasette.urls.path(path_with_replaced_args(request, parameters))
        return path

    first = url(_next=None, _nocount=None)
    newest = url(_next=ahead) if ahead else first
    if cursor is None or conditions is None:
        return {"newest": newest}
    before = await _previous_cursor(datasette, request, cursor, conditions)
    return {"newest": newest, "later": url(_next=before) if before else first}


def _conditions(request: Any) -> list[Condition] | None:
    """The page's filters as SQL; None when one is not among ``FILTERS``."""
    found = []
    for name in request.args:
        if name.startswith("_") and "__" not in name and name != "_where":
            continue
        known = FILTERS.fullmatch(name)
        for value in request.args.getlist(name):
            if not known or not INSTANT.fullmatch(value):
                return None
            found.append((f"{known[1]} {COMPARISONS[known[2]]}", int(value)))
    return found


async def _cursor_after_future(datasette: Any, conditions: list[Condition]) -> str | None:
    """The cursor after readings in the future, which the view `latest` skips too."""
    where, parameters = _where(conditions)
    found = await datasette.get_database(DATABASE).execute(
        "select (unixepoch() + 600) * 1000 as edge_ms where exists ("
        f"select 1 from readings where measured_ms > (unixepoch() + 600) * 1000{where})",
        parameters,
    )
    row = found.first()
    return f"{row['edge_ms']},0,{row['edge_ms']}" if row else None


async def _previous_cursor(
    datasette: Any, request: Any, cursor: re.Match[str], conditions: list[Condition]
) -> str | None:
    """The cursor of the page before this one; None when that is the first page."""
    where, parameters = _where(conditions)
    # The page's size as Datasette reads it, which has checked it before.
    size = request.args.get("_size") or datasette.setting("default_page_size")
    size = int(datasette.setting("max_returned_rows") if size == "max" else size)
    found = await datasette.get_database(DATABASE).execute(
        "select measured_ms, sensor from readings where measured_ms >= :ms"
        f" and (measured_ms > :ms or sensor <= :sensor){where}"
        " order by measured_ms, sensor desc limit 1 offset :size",
        {**parameters, "ms": int(cursor[1]), "sensor": int(cursor[2]), "size": size},
    )
    row = found.first()
    return f"{row['measured_ms']},{row['sensor']},{row['measured_ms']}" if row else None


def _where(conditions: list[Condition]) -> tuple[str, dict[str, int]]:
    """SQL to append to other conditions, and its parameters."""
    where = "".join(f" and {sql} :p{place}" for place, (sql, _) in enumerate(conditions))
    return where, {f"p{place}": number for place, (_, number) in enumerate(conditions)}


async def _sort_columns(datasette: Any, request: Any, database: str, table: str) -> tuple[Any, Any]:
    """The ascending and the descending sort column of a page, as Datasette chooses them."""
    requested = request.args.get("_sort"), request.args.get("_sort_desc")
    config = await datasette.table_config(database, table)
    return requested if any(requested) else (config.get("sort"), config.get("sort_desc"))
