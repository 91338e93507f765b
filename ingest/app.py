"""The ingest app: routes, lifespan, and how an error becomes a response."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from time import monotonic
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ingest.api import Json, State, get_healthz, get_metrics, post_readings
from ingest.auth import Door
from ingest.body import BodyParser
from ingest.metrics import Metrics
from ingest.rate import RateLimit
from ingest.writer_client import Handover
from tmon.core.errors import ApiError, Damaged, Unavailable
from tmon.core.settings import Settings
from tmon.db.connect import open_for_reading, sqlite3
from tmon.db.damage import ANSWER, Damage, is_damage
from tmon.db.nodes import now_ms
from tmon.db.tokens import Tokens, station_secret
from tmon.store.messages import Reply

log = logging.getLogger("tmon.app")

Handler = Callable[[Request[State]], Awaitable[Response]]


class Ingest(Starlette):
    """Starlette that finds an endpoint by its exact path, and has no layers for errors.

    Endpoints answer their own errors, the connection the rest. The layers and the matching of
    patterns took a quarter of a request's time.
    """

    def __init__(self, routes: Sequence[Route], **options: Any) -> None:
        super().__init__(routes=routes, **options)
        self._endpoints = {route.path: route.endpoint for route in routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoints.get(scope.get("path", ""), self.router)
        await endpoint(scope, receive, send)


class Endpoint:
    """The handlers of one address by their methods, and what they are answered who err."""

    def __init__(self, **handlers: Handler) -> None:
        self._handlers = handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        handler = self._handlers.get(scope["method"], self._not_allowed)
        try:
            response = await handler(Request(scope, receive))
        except ApiError as error:
            response = _deliberate(error)
        except sqlite3.Error as error:
            response = _deliberate(_unreadable(error, scope["state"]["damage"]))
        except asyncio.CancelledError:  # the server is stopping, and has waited long enough
            response = _deliberate(Unavailable("tmon is stopping; send it again"))
        await response(scope, receive, send)

    async def _not_allowed(self, _: Request[State]) -> Json:
        allowed = {"Allow": ", ".join(self._handlers)}
        return _answer(405, "method_not_allowed", "use another method here", allowed)


def create_app(
    settings: Settings,
    writer: socket.socket,
    clock: Callable[[], float] = monotonic,
    wall_clock: Callable[[], int] = now_ms,
) -> Starlette:
    """The ASGI app of one station.

    Args:
        settings: the station's; its database is there.
        writer: a socket that leads to the writer.
        clock: tells for how many seconds a batch has waited.
        wall_clock: tells what time it is, Unix milliseconds.
    """
    app = Ingest(
        routes=[
            Route("/readings", Endpoint(POST=post_readings)),
            Route("/healthz", Endpoint(GET=get_healthz, HEAD=get_healthz)),
            Route("/metrics", Endpoint(GET=get_metrics, HEAD=get_metrics)),
        ],
        lifespan=_lifespan(settings, writer, clock, wall_clock),
    )
    app.router.redirect_slashes = False
    app.router.default = _not_found
    return app


def _lifespan(
    settings: Settings,
    writer: socket.socket,
    clock: Callable[[], float],
    wall_clock: Callable[[], int],
) -> Callable[[Starlette], AbstractAsyncContextManager[State]]:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[State]:
        reader = open_for_reading(settings.db)
        damage = Damage(settings.db)
        door = Door(Tokens(station_secret(settings)), reader)
        metrics = Metrics(settings.db, lambda: handover.backlog, lambda: handover.oldest_waiting_s)

        def hear(reply: Reply) -> None:
            metrics.committed(reply)
            if reply.trouble and reply.trouble.code == Damaged.code:
                damage.is_known = True  # the writer has said so
            if reply.others_wrote:
                door.forget()

        handover = await Handover.over(writer, on_reply=hear, clock=clock)
        store, parser = handover.store, BodyParser()
        try:
            yield State(
                door=door,
                now_ms=wall_clock,
                check_room=handover.check_room,
                parser=parser,
                store=RateLimit(settings.rate).held(store) if settings.rate else store,
                backlog=lambda: handover.backlog,
                damage=damage,
                oldest_waiting_s=lambda: handover.oldest_waiting_s,
                metrics=metrics,
                answered=metrics.answered,
            )
        finally:
            parser.close()
            reader.close()  # first, so that the writer is the last and leaves one file
            await handover.close()

    return lifespan


def _unreadable(error: sqlite3.Error, damage: Damage) -> ApiError:
    if is_damage(error):
        damage.meet(error)
        return Damaged(ANSWER)
    log.warning("the database can't be read: %s", error)
    return Unavailable("the database can't be read now; try again")


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    response = _answer(404, "not_found", "nothing is here; readings go to POST /readings")
    await response(scope, receive, send)


def _deliberate(error: ApiError) -> Json:
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return _answer(error.status, error.code, str(error), headers)


def _answer(status: int, code: str, error: str, headers: Mapping[str, str] | None = None) -> Json:
    return Json({"error": error, "code": code}, status_code=status, headers=headers)
