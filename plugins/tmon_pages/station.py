"""What all pages need: the file asked within its limits, this station's address, a page sent."""

import sqlite3
from collections.abc import Callable, Mapping
from time import time_ns
from typing import Any, TypeVar

from datasette import Response
from datasette.database import QueryInterrupted
from datasette.utils import sqlite_timelimit

PUBLISHED_AS = "tmon"

# SQL: readings of a clock more than 10 minutes ahead are passed over, as the view `latest` does.
NOT_AHEAD = "measured_ms <= (unixepoch() + 600) * 1000"

# Ours have their scripts and styles in files; what is within them is data.
STRICT = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none';"
    " form-action 'self'; frame-ancestors {}"
)

T = TypeVar("T")


async def ask(datasette: Any, question: Callable[[sqlite3.Connection], T]) -> T:
    """Put a question to the file, in one of Datasette's threads and within its time limit.

    Raises:
        QueryInterrupted: it took longer.
    """

    def within_limit(conn: sqlite3.Connection) -> T:
        with sqlite_timelimit(conn, datasette.sql_time_limit_ms):
            return question(conn)

    try:
        answer: T = await datasette.get_database(PUBLISHED_AS).execute_fn(within_limit)
    except Exception as error:
        if "interrupted" in str(error):
            raise QueryInterrupted(error, "", {}) from error
        raise
    return answer


def now_ms() -> int:
    return time_ns() // 1_000_000


def address(datasette: Any, request: Any, path: str = "/") -> str:
    """A page's whole address, as others know this station."""
    public_url = (datasette.plugin_config(PUBLISHED_AS) or {}).get("public_url")
    return f"{public_url or f'{request.scheme}://{request.host}'}{datasette.urls.path(path)}"


async def page(  # noqa: PLR0913
    datasette: Any,
    request: Any,
    template: str,
    context: Mapping[str, Any],
    *,
    status: int = 200,
    framed: bool = False,
) -> Response:
    """A page of ours; ``framed``: others may show it within theirs."""
    html = await datasette.render_template(
        template, {"address": address(datasette, request, request.path), **context}, request=request
    )
    policy = STRICT.format("*" if framed else "'none'")
    return Response.html(html, status=status, headers={"content-security-policy": policy})


async def problem(
    datasette: Any, request: Any, status: int, told: str, links: Mapping[str, str]
) -> Response:
    """A page that says what is wrong, and where to go from there."""
    if request.path.endswith(".json"):
        return Response.json({"ok": False, "error": told, "status": status}, status=status)
    context = {"told": told, "links": links, "status": status}
    return await page(datasette, request, "problem.html", context, status=status)
