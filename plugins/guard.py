"""What strangers can't do: SQL that costs too much or leaves the file, and foreign pages."""

import ctypes
import sqlite3 as names  # for its constants; Datasette may run on another build of SQLite
import sys
from collections.abc import Awaitable, Callable
from time import time_ns
from typing import Any

from datasette import NotFound, Response, hookimpl
from datasette.database import QueryInterrupted
from datasette.utils import path_with_replaced_args
from datasette.views.base import DatasetteError

# The time limit is looked at between steps of a query, never within one function
# call: these make gigabytes in a single call, or reach out of the file.
DENIED_FUNCTIONS = frozenset(
    ("printf", "format", "randomblob", "zeroblob", "load_extension", "fts3_tokenizer")
)
DENIED_ACTIONS = frozenset((names.SQLITE_ATTACH, names.SQLITE_DETACH))

# instr(), replace() and LIKE take time with the product of their arguments' lengths;
# at these lengths the worst of them takes about as long as the time limit allows.
LIMITS = {
    names.SQLITE_LIMIT_LENGTH: 256 * 1024,  # bytes of a text, a blob, a row
    names.SQLITE_LIMIT_SQL_LENGTH: 64 * 1024,
    names.SQLITE_LIMIT_COLUMN: 200,
    names.SQLITE_LIMIT_EXPR_DEPTH: 200,
    names.SQLITE_LIMIT_COMPOUND_SELECT: 50,
    names.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 200,
    names.SQLITE_LIMIT_ATTACHED: 0,
}
# For all connections together: sorting and WITH keep their rows in memory.
HEAP_LIMIT_BYTES = 512 * 1024 * 1024

# Texts and blobs of one answer: 10,000 rows of 1,600 bytes. As JSON, 500 MB of them
# took 2.5 GB, and held up all other pages for 6 s.
ANSWER_LIMIT_BYTES = 16 * 1024 * 1024

# What narrows a table that takes too long: its time column, and how much of the newest to ask for.
NEWEST = {
    "readings": ("measured_ms", "The last 24 hours alone", 86_400_000),
    "hourly": ("hour_ms", "The last 7 days alone", 7 * 86_400_000),
    "daily": ("day_ms", "The last 30 days alone", 30 * 86_400_000),
    "rejected": ("received_ms", "The last 24 hours alone", 86_400_000),
}

TOO_COSTLY = {
    MemoryError: "This needs more memory than a query may have. Ask for less at a time.",
    QueryInterrupted: "This takes longer than a query may. Filter by sensor, or by measured_ms.",
}

HEADERS = {
    "content-security-policy": (
        # Datasette's pages carry scripts and styles within them.
        "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline';"
        " img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self';"
        " frame-ancestors 'none'"
    ),
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}

POLICY = b"content-security-policy"
FRAMED = b"frame-ancestors *"

Message = dict[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


@hookimpl
def prepare_connection(conn: Any) -> None:
    """Hold every connection to the published file to the limits; Datasette's own stay free."""
    setlimit = _setlimit(conn)
    for limit, most in LIMITS.items():
        setlimit(limit, most)
    conn.execute(f"pragma hard_heap_limit = {HEAP_LIMIT_BYTES}")
    conn.set_authorizer(_authorize)
    _weigh_answers(conn)


@hookimpl
def asgi_wrapper() -> Callable[[App], App]:
    """Send the security headers with every answer."""
    return _with_headers


@hookimpl
def register_routes() -> list[tuple[str, Callable[..., Response]]]:
    """Datasette's list of databases tells where on the server each one lies."""
    return [(r"/-/databases(\.json)?$", _nothing_here)]


@hookimpl
def handle_exception(
    datasette: Any, request: Any, exception: Exception
) -> Awaitable[Response] | None:
    """A page that costs too much is the visitor's to change: a 400 that says so, not a 500."""
    cause = exception.__context__ if isinstance(exception, DatasetteError) else exception
    told = TOO_COSTLY.get(type(cause))
    return _bad_request(datasette, request, told, cause) if told else None


async def _bad_request(
    datasette: Any, request: Any, told: str, cause: BaseException | None
) -> Response:
    """Datasette's own page, JSON or text for an error; the page with a way on (error.html)."""
    ways = {} if "." in request.path.rpartition("/")[2] else _ways_on(datasette, request, cause)
    error = DatasetteError(told, status=400, title="Too much at once", error_dict=ways)
    (answer,) = datasette.pm.hook.handle_exception(
        datasette=datasette, request=request, exception=error
    )
    return await answer()


def _ways_on(datasette: Any, request: Any, cause: BaseException | None) -> dict[str, Any]:
    """A table's newest rows, or a question's SQL to ask for less."""
    table = request.url_vars.get("table")
    if table not in NEWEST:
        return {"sql": request.args.get("sql") or getattr(cause, "sql", None)}
    column, name, length_ms = NEWEST[table]
    newest = {f"{column}__gte": str(time_ns() // 10**6 - length_ms)}
    dropped = dict.fromkeys(("_next", "_facet", "_sort", "_sort_desc"))
    path = datasette.urls.path(path_with_replaced_args(request, {**dropped, **newest}))
    return {"links": {name: path}}


def _setlimit(conn: Any) -> Callable[[int, int], int]:
    """SQLite's ``sqlite3_limit`` for one connection.

    pysqlite3 has no method for it, but its library exports the function, and
    the pointer that it takes is the first field of the connection object.
    """
    if hasattr(conn, "setlimit"):
        method: Callable[[int, int], int] = conn.setlimit
        return method
    library = ctypes.CDLL(sys.modules["pysqlite3._sqlite3"].__file__)
    pointer = ctypes.c_void_p.from_address(id(conn) + object.__basicsize__)
    return lambda limit, most: library.sqlite3_limit(pointer, limit, most)


def _weigh_answers(conn: Any) -> None:
    """End a statement with MemoryError when its rows grow beyond ``ANSWER_LIMIT_BYTES``."""
    make_row = conn.row_factory
    left = 0

    def begin(_sql: str) -> None:
        nonlocal left
        left = ANSWER_LIMIT_BYTES

    def weighed(cursor: Any, values: tuple[Any, ...]) -> Any:
        nonlocal left
        left -= sum(len(value) for value in values if isinstance(value, str | bytes))
        if left < 0:
            raise MemoryError
        return make_row(cursor, values)

    conn.set_trace_callback(begin)
    conn.row_factory = weighed


def _authorize(action: int, first: str | None, second: str | None, *_where: str | None) -> int:
    if action in DENIED_ACTIONS:
        return names.SQLITE_DENY
    if action == names.SQLITE_FUNCTION and second in DENIED_FUNCTIONS:
        return names.SQLITE_DENY
    if action == names.SQLITE_READ and first == "pragma_database_list":  # tells the file's path
        return names.SQLITE_DENY
    return names.SQLITE_OK


def _with_headers(app: App) -> App:
    async def wrapped(scope: Message, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": _secured(message["headers"])}
            await send(message)

        await app(scope, receive, send_with_headers)

    return wrapped


def _secured(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """An answer's headers with ours; a policy of its own, as our pages have, stands."""
    ours = {name.encode(): value.encode() for name, value in HEADERS.items()}
    policy = next((value for name, value in headers if name.lower() == POLICY), None)
    if policy is not None:
        ours[POLICY] = policy
        if FRAMED in policy:
            del ours[b"x-frame-options"]
    return [*((name, value) for name, value in headers if name.lower() not in ours), *ours.items()]


async def _nothing_here() -> Response:
    raise NotFound("Not published")
