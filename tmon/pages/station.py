"""What all pages need: the file asked within its limits, this station's address, a page sent."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

from datasette import Response, hookimpl
from datasette.database import QueryInterrupted
from datasette.utils import sqlite_timelimit
from datasette.utils.asgi import BadRequest

PUBLISHED_AS = "tmon"
PAUSES_S = (0.1, 0.3, 0.6, 1.0)  # before what there was no memory for is asked again
THREADS = 2  # of our pages' own: visitors' SQL takes none of them

# SQL: readings of a clock more than 10 minutes ahead are passed over, as the view `latest` does.
NOT_AHEAD = "measured_ms <= (unixepoch() + 600) * 1000"

# Ours have their scripts and styles in files; what is within them is data.
STRICT = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none';"
    " form-action 'self'; frame-ancestors {}"
)

# What an address may tell a page of ours, beside the span.
CHOICES = {
    "unit": ("C", "F"),
    "utc": ("0", "1"),
    "values": ("clean", "raw"),
    "sort": ("name", "silent"),
}

T = TypeVar("T")


class Readers:
    """Threads that read the file for our pages, each with a connection of its own.

    ``limit_ms``: how long a question may take that has no limit of its own.
    """

    def __init__(self, datasette: Any) -> None:
        self.limit_ms: float = datasette.sql_time_limit_ms
        self._datasette = datasette
        self._threads = ThreadPoolExecutor(THREADS, "pages")
        self._opened = threading.local()  # by each thread

    async def run(self, question: Callable[[sqlite3.Connection], T], limit_ms: float) -> T:
        return await asyncio.wrap_future(self._threads.submit(self._ask, question, limit_ms))

    def _ask(self, question: Callable[[sqlite3.Connection], T], limit_ms: float) -> T:
        if not hasattr(self._opened, "connection"):
            db = self._datasette.get_database(PUBLISHED_AS)
            self._opened.connection = db.connect()
            self._datasette._prepare_connection(self._opened.connection, PUBLISHED_AS)
        connection: sqlite3.Connection = self._opened.connection
        with sqlite_timelimit(connection, limit_ms):
            return question(connection)

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)


readers = cache(Readers)  # of each Datasette


@hookimpl
def shutdown(datasette: Any) -> None:
    """Wait for what is being read: Datasette closes the connections next."""
    readers(datasette).close()


def interrupted(error: Exception) -> bool:
    """Whether SQLite was stopped by the time limit."""
    return str(error) == "interrupted"


async def ask(
    datasette: Any, question: Callable[[sqlite3.Connection], T], limit_ms: float | None = None
) -> T:
    """Put a question to the file, in one of our threads and within Datasette's time limit.

    Args:
        datasette: whose file.
        question: what to do with a connection.
        limit_ms: another limit than Datasette's.

    Raises:
        QueryInterrupted: it took longer.
    """
    own = readers(datasette)
    try:
        for pause_s in PAUSES_S:
            try:
                return await own.run(question, limit_ms or own.limit_ms)
            except MemoryError:  # which a stranger's SQL has for as long as it may run
                await asyncio.sleep(pause_s)
        return await own.run(question, limit_ms or own.limit_ms)
    except Exception as error:
        if interrupted(error):
            raise QueryInterrupted(error, "", {}) from error
        raise


def check_choices(request: Any) -> None:
    """Refuse what a page of ours would pass over.

    Raises:
        BadRequest: a parameter's value means nothing; the message says which ones do.
    """
    for name, meant in CHOICES.items():
        for value in request.args.getlist(name):
            if value and value not in meant:
                raise BadRequest(f"{name} must be {' or '.join(meant)}")


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
