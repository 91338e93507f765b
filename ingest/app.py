"""The ingest app: routes, lifespan, and how an error becomes a response."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route

from ingest.api import Json, State, get_healthz, post_readings
from ingest.errors import ApiError, Unavailable
from ingest.rate import RateLimit
from ingest.schema import open_database, open_for_reading, sqlite3
from ingest.settings import Settings
from ingest.store import Store
from ingest.tokens import Door, Tokens, station_secret
from ingest.writer import Writer

log = logging.getLogger("tmon.app")


def create_app(settings: Settings) -> Starlette:
    """The ASGI app of one station; its lifespan opens and closes the database."""
    app = Starlette(
        routes=[
            Route("/readings", post_readings, methods=["POST"]),
            Route("/healthz", get_healthz, methods=["GET"]),
        ],
        lifespan=_lifespan(settings),
        exception_handlers=ERRORS,
    )
    app.router.redirect_slashes = False
    return app


def _lifespan(
    settings: Settings,
) -> Callable[[Starlette], AbstractAsyncContextManager[State]]:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[State]:
        db = open_database(settings.db, create=True)
        reader = open_for_reading(settings.db)
        door = Door(Tokens(station_secret(settings)), reader)
        forget = partial(asyncio.get_running_loop().call_soon_threadsafe, door.forget)
        writer = Writer(Store(db, on_foreign_change=forget))
        try:
            yield State(
                door=door,
                rate=RateLimit(settings.rate),
                store=writer.store,
                backlog=lambda: writer.backlog,
            )
        finally:
            await writer.close()
            reader.close()

    return lifespan


async def _deliberate(_: Request, error: ApiError) -> Json:
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return _answer(error.status, error.code, str(error), headers)


async def _unroutable(_: Request, error: HTTPException) -> Json:
    if error.status_code == 405:
        return _answer(405, "method_not_allowed", "use another method here", error.headers)
    return _answer(404, "not_found", "nothing is here; readings go to POST /readings")


async def _unreadable(request: Request, error: sqlite3.Error) -> Json:
    log.error("the database can't be read: %s", error)
    return await _deliberate(request, Unavailable("the database can't be read now; try again"))


async def _unforeseen(_: Request, error: Exception) -> Json:  # noqa: ARG001 - its log says
    return _answer(500, "internal", "tmon failed here; its log says why")


ERRORS: dict[Any, Any] = {
    ApiError: _deliberate,
    sqlite3.Error: _unreadable,
    HTTPException: _unroutable,
    Exception: _unforeseen,
}


def _answer(status: int, code: str, error: str, headers: Mapping[str, str] | None = None) -> Json:
    return Json({"error": error, "code": code}, status_code=status, headers=headers)
