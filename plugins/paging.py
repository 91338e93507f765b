"""Pages of readings that cost the same however far back they lie.

Datasette asks for the page after a reading with ``measured_ms < :p or measured_ms
is null or …``, for which SQLite scans the whole table: 0.5 s at 2 million readings.
"""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from datasette import hookimpl
from datasette.filters import FilterArguments
from datasette.utils.asgi import BadRequest

INSTANT = re.compile(r"-?\d{1,15}", re.ASCII)
OFFSET = re.compile(r"\d{1,15}", re.ASCII)
App = Callable[..., Awaitable[None]]


@hookimpl
def asgi_wrapper() -> Callable[[App], App]:
    """Count nothing on such a page: it would be what is left, not what there is."""
    return _uncounted


def _uncounted(app: App) -> App:
    async def wrapped(scope: MutableMapping[str, Any], *channels: Any) -> None:
        query = scope.get("query_string", b"")
        if scope.get("path") == "/tmon/readings" and b"_next=" in query:
            scope = {**scope, "query_string": query + b"&_nocount=1"}
        await app(scope, *channels)

    return wrapped


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
