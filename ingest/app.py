"""The ingest app: routes, lifespan, and how an error becomes a response."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ingest.api import Json, get_healthz, get_metrics, health, post_readings
from ingest.auth import Authenticator
from ingest.body import BodyParser
from ingest.credentials import split_key
from ingest.devices import GatewayDevices
from ingest.metrics import Metrics
from ingest.rate import RateLimit
from ingest.state import BatchWriter, State
from ingest.trial import Trials
from ingest.try_page import get_try, post_try
from ingest.waiting import Waiting
from ingest.wires import WireRequests
from ingest.writer_client import WriterClient
from tmon.core.errors import ApiError, Damaged, Unavailable
from tmon.core.reading import Batch, Receipt
from tmon.core.settings import Settings
from tmon.core.time import now_ms
from tmon.db.connect import open_for_reading, sqlite3
from tmon.db.damage import DAMAGED_MESSAGE, Damage, is_damage
from tmon.db.tokens import load_or_create_secret, read_secret
from tmon.store.messages import Reply

if TYPE_CHECKING:
    from tmon.stream.directory import Directory

READINGS = "/readings"

log = logging.getLogger("tmon.app")

Handler = Callable[[Request[State]], Awaitable[Response]]


class Ingest(Starlette):
    """Starlette that looks endpoints up by their exact path, without its error middleware.

    Endpoints turn their own errors into responses, the connection all others. The
    middleware and the matching of path patterns took a quarter of a request's time.
    """

    def __init__(self, routes: Sequence[Route], **options: Any) -> None:
        super().__init__(routes=routes, **options)
        self._endpoints = {route.path: route.endpoint for route in routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoints.get(scope.get("path", ""), self.router)
        await endpoint(scope, receive, send)


class Endpoint:
    """Dispatch one path's methods; turn ApiError and sqlite3.Error into a JSON response."""

    def __init__(self, **handlers: Handler) -> None:
        self._handlers = handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        handler = self._handlers.get(scope["method"], self._handle_other)
        try:
            response = await handler(Request(scope, receive))
        except ApiError as error:
            response = _error_response(error)
        except sqlite3.Error as error:
            if is_damage(error):
                scope["state"]["damage"].record(error)
                response = _error_response(Damaged(DAMAGED_MESSAGE))
            else:
                log.warning("the database can't be read: %s", error)
                response = _error_response(Unavailable("the database can't be read now; try again"))
        except asyncio.CancelledError:  # the server is stopping, and its time is up
            response = _error_response(Unavailable("tmon is stopping; send it again"))
        await response(scope, receive, send)

    async def _handle_other(self, _: Request[State]) -> Response:
        allowed = {"Allow": ", ".join(self._handlers)}
        return _json_error(405, "method_not_allowed", "use another method here", allowed)


class OtherPaths(Endpoint):
    """All other paths: ``/k/KEY/readings``, and those of other wires."""

    async def _handle_other(self, request: Request[State]) -> Response:
        scope = request.scope
        path, key = split_key(scope["path"])
        if key and path == READINGS and request.method == "POST":
            others = [pair for pair in scope["headers"] if pair[0] != b"authorization"]
            scope["headers"] = [*others, (b"authorization", b"Bearer " + key)]
            return await post_readings(request)
        wires: WireRequests = scope["state"]["wires"]
        response = await wires.respond(scope, request.receive)
        if response is None:
            text = "nothing is here; readings go to POST /readings"
            return _json_error(404, "not_found", text)
        return response


def create_app(
    settings: Settings,
    writer: socket.socket | None,
    clock: Callable[[], float] = monotonic,
    wall_clock: Callable[[], int] = now_ms,
) -> ASGIApp:
    """The ASGI app of one station.

    Args:
        settings: the station's, with the path of its database.
        writer: a socket that is connected to the writer; None: readings go to the streams.
        clock: seconds; for how long a batch has waited.
        wall_clock: Unix milliseconds.
    """
    app = Ingest(
        routes=[
            Route(READINGS, Endpoint(POST=post_readings)),
            Route("/healthz", Endpoint(GET=get_healthz, HEAD=get_healthz)),
            Route("/try", Endpoint(GET=get_try, HEAD=get_try, POST=post_try)),
            Route("/metrics", Endpoint(GET=get_metrics, HEAD=get_metrics)),
        ],
        lifespan=lambda _: _lifespan(settings, writer, clock, wall_clock),
    )
    app.router.redirect_slashes = False
    app.router.default = OtherPaths()
    return app if writer is not None else Waiting(app, _refusal(wall_clock))


def _refusal(wall_clock: Callable[[], int]) -> ASGIApp:
    """Answers while no NATS server has."""
    error = Unavailable("no NATS server has answered yet; nothing was stored, keep the readings")

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        response = _error_response(error)
        if scope["path"] == "/healthz":
            response = health({"error": str(error), "code": error.code}, wall_clock())
        await response(scope, receive, send)

    return refuse


@asynccontextmanager
async def _lifespan(
    settings: Settings,
    writer_sock: socket.socket | None,
    clock: Callable[[], float],
    wall_clock: Callable[[], int],
) -> AsyncIterator[State]:
    directory = _directory(settings)
    nodes = directory.db if directory else open_for_reading(settings.db)
    damage = Damage(settings.db)
    secret = read_secret(settings) if settings.stream else load_or_create_secret(settings)
    authenticator = Authenticator(secret, nodes)
    metrics = Metrics(settings.db, lambda: writer.backlog, lambda: writer.oldest_waiting_s)

    def on_reply(reply: Reply) -> None:
        metrics.committed(reply)
        if reply.trouble and reply.trouble.code == Damaged.code:
            damage.is_known = True
        if reply.others_wrote:
            authenticator.invalidate()

    writer = await _connect(settings, writer_sock, on_reply, clock)
    store = RateLimit(settings.rate).limit(writer.store) if settings.rate else writer.store
    devices = await _devices(settings, authenticator, directory, store)
    parser = BodyParser()
    wires = WireRequests(devices, metrics.wire_answered, clock)
    prefix = urlsplit(settings.ingest_url).path
    try:
        yield State(
            authenticator=authenticator,
            now_ms=wall_clock,
            parser=parser,
            writer=writer,
            store=store,
            damage=damage,
            metrics=metrics,
            answered=metrics.answered,
            wires=wires,
            devices=devices,
            trials=Trials(wires, authenticator, wall_clock, prefix, clock),
        )
    finally:
        parser.close()
        await devices.close()
        if directory:
            await directory.close()
        nodes.close()  # before the writer, whose close then leaves a single file
        await writer.close()


def _directory(settings: Settings) -> "Directory | None":
    """The nodes of a station on several machines, as ingest needs no file then."""
    if not settings.stream:
        return None
    from tmon.stream.directory import Directory  # noqa: PLC0415 - a single machine needs no NATS

    return Directory()


async def _devices(
    settings: Settings,
    authenticator: Authenticator,
    directory: "Directory | None",
    store: Callable[[Batch, Callable[[], bool]], Awaitable[Receipt]],
) -> GatewayDevices:
    """Gateways' devices; the directory, if there is one, has all that the bucket has then."""
    if directory is None:
        return GatewayDevices(settings.db, settings.adopt_limit, authenticator.node_of)
    from ingest.shared_devices import SharedDevices  # noqa: PLC0415 - as above

    devices = SharedDevices(
        settings, authenticator.node_of, directory, lambda batch: store(batch, lambda: False)
    )
    await devices.start(authenticator.invalidate)
    return devices


async def _connect(
    settings: Settings,
    writer: socket.socket | None,
    on_reply: Callable[[Reply], object],
    clock: Callable[[], float],
) -> BatchWriter:
    """Where batches go: to the writer of this machine's file, or into the streams."""
    if writer is not None:
        return await WriterClient.connect(writer, on_reply, clock)
    from tmon.stream.publisher import Publisher  # noqa: PLC0415 - a single machine needs no NATS

    return await Publisher.connect(settings, on_reply, clock)


def _error_response(error: ApiError) -> Json:
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return _json_error(error.status, error.code, str(error), headers)


def _json_error(
    status: int, code: str, error: str, headers: Mapping[str, str] | None = None
) -> Json:
    return Json({"error": error, "code": code}, status_code=status, headers=headers)
