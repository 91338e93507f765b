"""One of the two processes that answer HTTP: ingest's app, or Datasette, under uvicorn."""

import asyncio
import ctypes
import gc
import logging
import os
import resource
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from time import sleep
from types import FrameType
from typing import Any

import uvicorn
import uvloop
from starlette.types import ASGIApp

from ingest import access
from tmon.core import logs
from tmon.core.settings import Settings
from tmon.db import identity
from tmon.serve import signals, supervisor

DRAIN_S = 6  # what has been taken is answered within this
GC_OBJECTS = 50_000  # requests leave no cycles behind: looking for them takes a quarter of the time
DATASETTE_NICENESS = (
    5  # ingest comes first, then pages, then strangers' SQL (tmon/serve/datasette_app.py)
)
TRIM_EVERY_S = 1.0
M_ARENA_MAX = -8  # of glibc's malloc.h
FILES_EVERY_S = 1.0
OPEN_FILES = 65_536  # a connection is a file; the usual soft limit is 1,024

log = logging.getLogger("tmon.process")


def run_ingest(
    settings: Settings,
    writer: socket.socket,
    listening: socket.socket,
    on_stop: Callable[[], object],
) -> None:
    """Take readings in on a listening socket and hand them to the writer, until a signal.

    ``on_stop`` is told of the signal at once, before what was taken is answered.
    """
    from ingest.app import create_app  # noqa: PLC0415 - each process imports its own half

    app = create_app(settings, writer)
    _run(_serve(app, listening, proxy_headers=False, on_stop=on_stop))


def run_datasette(settings: Settings, listening: socket.socket, *, is_alone: bool) -> None:
    """Publish on a listening socket, until a signal.

    Where it ``is_alone``, without ingest beside it, also until the database is exchanged.
    """
    os.nice(DATASETTE_NICENESS)
    _keep_memory_small()
    with logs.strays_logged():
        _run(_publish(settings, listening, is_alone=is_alone))


async def _publish(settings: Settings, listening: socket.socket, *, is_alone: bool) -> None:
    from tmon.serve.datasette_app import datasette_for, start  # noqa: PLC0415

    datasette = datasette_for(
        settings.db, settings.public_url, settings.ingest_url, download_dir=settings.download_dir
    )
    await start(datasette)
    watching = asyncio.create_task(_end_with_files(settings.db)) if is_alone else None
    await _serve(datasette.app(), listening, proxy_headers=True)
    if watching:
        watching.cancel()


async def _end_with_files(database: Path) -> None:
    """End the process when its files were exchanged: what it has open is published no more.

    As long as it has them open nobody else removes them in good order.
    """
    paths = (database, identity.log_of(database), identity.index_of(database))
    opened = [*map(identity.file_id, paths)]
    with suppress(OSError):  # it can't be looked at any more: a change, too
        while [*map(identity.file_id, paths)] == opened:
            await asyncio.sleep(FILES_EVERY_S)
    log.critical("%s or its log was removed or replaced; start again to publish it", database)
    os._exit(1)  # to close the connections could remove files that aren't ours


def _run(serving: Coroutine[Any, Any, None]) -> None:
    _allow_many_connections()
    gc.freeze()
    gc.set_threshold(GC_OBJECTS)
    uvloop.run(serving)


async def _serve(
    app: ASGIApp,
    listening: socket.socket,
    *,
    proxy_headers: bool,
    on_stop: Callable[[], object] = lambda: None,
) -> None:
    config = uvicorn.Config(
        app,
        http=access.connection_type(),
        ws="none",
        proxy_headers=proxy_headers,  # ingest doesn't ask who is there, or by which scheme
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=DRAIN_S,
    )
    await _Server(config, on_stop).serve([listening])


class _Server(uvicorn.Server):
    """A server whose process ends well when a signal asks it to; uvicorn raises it again."""

    def __init__(self, config: uvicorn.Config, on_stop: Callable[[], object]) -> None:
        super().__init__(config)
        self._on_stop = on_stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        supervisor.ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's
        """Ctrl-C reaches us twice, from the terminal and from our parent: no reason to hurry."""
        self.should_exit = True
        self._on_stop()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        for number in signals.STOP_SIGNALS:
            signal.signal(number, self.handle_exit)
        signals.release()
        yield


def _keep_memory_small() -> None:
    """Give back what a costly statement needed; glibc would keep it, and for each thread."""
    with suppress(AttributeError, OSError):  # another C library
        library = ctypes.CDLL(None)
        library.mallopt(M_ARENA_MAX, 1)
        trim = library.malloc_trim
        Thread(target=_trim_now_and_then, args=[trim], name="memory", daemon=True).start()


def _trim_now_and_then(trim: Callable[[int], int]) -> None:
    while True:
        sleep(TRIM_EVERY_S)
        trim(0)


def _allow_many_connections() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
