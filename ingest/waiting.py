"""An app that may take long to begin, as where it hands its readings isn't there yet."""

import asyncio
import logging
import os
from contextlib import suppress
from typing import Any

from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from tmon.core.errors import TmonError
from tmon.core.tasks import end

PATIENCE_S = 2.0  # for a begin; after that, requests are refused until it has

log = logging.getLogger("tmon.ingest")


class Waiting:
    """Serves an app from its lifespan's begin on, and ``refusal`` before.

    So senders have their answer at once, and a signal ends the process. An app that can't begin
    ends it too, with a line that says why.
    """

    def __init__(self, app: Starlette, refusal: ASGIApp, patience_s: float = PATIENCE_S) -> None:
        self._app = app
        self._refusal = refusal
        self._patience_s = patience_s
        self._serving = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope["state"], receive, send)
        else:
            await self._serving(scope, receive, send)

    async def _live(self, state: dict[str, Any], receive: Receive, send: Send) -> None:
        await receive()  # the server starts
        begun, stop = asyncio.Event(), asyncio.Event()
        living = asyncio.create_task(self._run(state, begun, stop))
        living.add_done_callback(_end_process_if_failed)
        with suppress(TimeoutError):
            await asyncio.wait_for(begun.wait(), self._patience_s)
        await send({"type": "lifespan.startup.complete"})
        await receive()  # the server stops
        stop.set()
        if begun.is_set():
            await asyncio.wait([living])
        else:
            await end([living])
        await send({"type": "lifespan.shutdown.complete"})

    async def _run(self, state: dict[str, Any], begun: asyncio.Event, stop: asyncio.Event) -> None:
        async with self._app.router.lifespan_context(self._app) as made:
            state.update(made or {})
            self._serving = self._app
            begun.set()
            await stop.wait()


def _end_process_if_failed(living: "asyncio.Task[None]") -> None:
    error = None if living.cancelled() else living.exception()
    if error is None:
        return
    if isinstance(error, TmonError):
        log.critical("%s", error)
    else:
        log.critical("ingest can't begin", exc_info=error)
    os._exit(1)
