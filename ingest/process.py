"""One of the two processes that answer HTTP: ingest's app, or Datasette, under uvicorn."""

import gc
import resource
import signal
import socket
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn
import uvloop
from starlette.types import ASGIApp

from ingest.http import HttpConnection
from ingest.settings import Settings

DRAIN_S = 6  # what has been taken is answered within this
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
GC_OBJECTS = 50_000  # requests leave no cycles behind: looking for them takes a quarter of the time
OPEN_FILES = 65_536  # a connection is a file; the usual soft limit is 1,024


def run_ingest(settings: Settings, writer: socket.socket, listening: socket.socket) -> None:
    """Take readings in on a listening socket and hand them to the writer, until a signal."""
    from ingest.app import create_app  # noqa: PLC0415 - each process imports its own half

    _run(_serve(create_app(settings, writer), listening, proxy_headers=False))


def run_datasette(settings: Settings, listening: socket.socket) -> None:
    """Publish on a listening socket, until a signal."""
    _run(_publish(settings, listening))


async def _publish(settings: Settings, listening: socket.socket) -> None:
    from ingest.publish import datasette_for, start  # noqa: PLC0415

    datasette = datasette_for(settings.db)
    await start(datasette)
    await _serve(datasette.app(), listening, proxy_headers=True)


def _run(serving: Coroutine[Any, Any, None]) -> None:
    _allow_many_connections()
    gc.freeze()
    gc.set_threshold(GC_OBJECTS)
    uvloop.run(serving)


async def _serve(app: ASGIApp, listening: socket.socket, *, proxy_headers: bool) -> None:
    config = uvicorn.Config(
        app,
        http=HttpConnection,
        ws="none",
        proxy_headers=proxy_headers,  # ingest doesn't ask who is there, or by which scheme
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=DRAIN_S,
    )
    await _Server(config).serve([listening])


class _Server(uvicorn.Server):
    """A server whose process ends well when a signal asks it to; uvicorn raises it again."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's
        """Ctrl-C reaches us twice, from the terminal and from our parent: no reason to hurry."""
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        for number in STOP_SIGNALS:
            signal.signal(number, self.handle_exit)
        yield


def _allow_many_connections() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
