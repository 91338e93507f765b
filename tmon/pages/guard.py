"""What is answered to SQL that costs too much, and the headers that keep foreign pages out."""

from collections.abc import Awaitable, Callable
from time import time_ns
from typing import Any

from datasette import NotFound, Response, hookimpl
from datasette.database import QueryInterrupted
from datasette.utils import path_with_replaced_args
from datasette.views.base import DatasetteError

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
