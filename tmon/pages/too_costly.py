"""Errors of queries are answered with 400, the query to edit, and a way to ask for less."""

from collections.abc import Awaitable
from typing import Any

from datasette import Response, hookimpl
from datasette.database import QueryInterrupted
from datasette.utils import path_with_replaced_args
from datasette.views.base import DatasetteError

from tmon.core.languages import N_, gettext
from tmon.core.time import now_ms

# How to narrow a table: its time column, the text of the link, and the length of time in ms.
NEWEST_ROWS = {
    "readings": ("measured_ms", N_("The last 24 hours alone"), 86_400_000),
    "hourly": ("hour_ms", N_("The last 7 days alone"), 7 * 86_400_000),
    "daily": ("day_ms", N_("The last 30 days alone"), 30 * 86_400_000),
    "rejected": ("received_ms", N_("The last 24 hours alone"), 86_400_000),
}

MESSAGES = {
    MemoryError: N_("This needs more memory than a query may have. Ask for less at a time."),
    QueryInterrupted: N_(
        "This takes longer than a query may. Filter by sensor, or by measured_ms."
    ),
}


@hookimpl
def handle_exception(
    datasette: Any, request: Any, exception: Exception
) -> Awaitable[Response] | None:
    """Answer 400 instead of 500, and keep the query: the visitor can change it."""
    is_page = "." not in request.path.rpartition("/")[2]
    cause = exception.__context__ if isinstance(exception, DatasetteError) else exception
    message = MESSAGES.get(type(cause))
    if message:
        offer = _easier_query(datasette, request, cause) if is_page else {}
        title = gettext("Too much at once")
        error = DatasetteError(gettext(message), status=400, title=title, error_dict=offer)
        return _answer(datasette, request, error)
    if is_page and isinstance(exception, DatasetteError) and "sql" not in exception.error_dict:
        exception.error_dict["sql"] = request.args.get("sql")
    return None


async def _answer(datasette: Any, request: Any, error: DatasetteError) -> Response:
    """Datasette's own error page, JSON or text; the page offers an easier query (error.html)."""
    (answer,) = datasette.pm.hook.handle_exception(
        datasette=datasette, request=request, exception=error
    )
    return await answer()


def _easier_query(datasette: Any, request: Any, cause: BaseException | None) -> dict[str, Any]:
    """A link to a table's newest rows, or the SQL to edit."""
    table = request.url_vars.get("table")
    if table not in NEWEST_ROWS:
        sql = request.args.get("sql") or getattr(cause, "sql", None)
        advice = gettext("Select less at a time: one sensor, or a shorter span.")
        return {"sql": sql, "advice": advice}
    column, text, length_ms = NEWEST_ROWS[table]
    newest = {f"{column}__gte": str(now_ms() - length_ms)}
    dropped = dict.fromkeys(("_next", "_facet", "_sort", "_sort_desc"))
    path = datasette.urls.path(path_with_replaced_args(request, {**dropped, **newest}))
    return {"links": {gettext(text): path}}
