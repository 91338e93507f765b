"""Serve one ASGI app, ingest's or Datasette's, with uvicorn."""

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
from tmon.core import logs, signals, systemd
from tmon.core.settings import Settings
from tmon.db import identity

DRAIN_S = 6  # after a signal, for the requests that have arrived
GC_OBJECTS = 50_000  # requests leave no cycles; looking for them often takes a quarter of the time
DATASETTE_NICENESS = 5  # ingest comes first, then pages, then visitors' SQL (datasette_app.py)
TRIM_EVERY_S = 1.0
M_ARENA_MAX = -8  # of glibc's malloc.h
CHECK_FILES_S = 1.0
OPEN_FILES = 65_536  # a connection is a file; the usual soft limit is 1,024

log = logging.getLogger("tmon.process")


def run_ingest(
    settings: Settings,
    writer: socket.socket | None,
    listening: socket.socket,
    on_stop: Callable[[], object],
) -> None:
    """Serve ingest's app on a listening socket, until a signal.

    Without a ``writer`` the readings go to the streams. ``on_stop`` is called at once, before the
    requests that have arrived are answered.
    """
    from ingest.app import create_app  # noqa: PLC0415 - Datasette's process doesn't need it

    app = create_app(settings, writer)
    _run(_serve(app, listening, proxy_headers=False, on_stop=on_stop))


def run_datasette(settings: Settings, listening: socket.socket, *, is_alone: bool) -> None:
    """Serve Datasette on a listening socket, until a signal.

    If it ``is_alone``, without ingest as its parent, it also ends when the database is replaced.
    """
    os.nice(DATASETTE_NICENESS)
    _keep_memory_small()
    with logs.stderr_logged():
        _run(_serve_datasette(settings, listening, is_alone=is_alone))


async def _serve_datasette(settings: Settings, listening: socket.socket, *, is_alone: bool) -> None:
    from tmon.serve.datasette_app import PAGE_SETTINGS, datasette_for, start  # noqa: PLC0415

    datasette = datasette_for(
        settings.db,
        download_dir=settings.download_dir,
        **{name: getattr(settings, name) for name in PAGE_SETTINGS},
    )
    await start(datasette)
    watching = asyncio.create_task(_exit_when_replaced(settings.db)) if is_alone else None
    await _serve(datasette.app(), listening, proxy_headers=True)
    if watching:
        watching.cancel()


async def _exit_when_replaced(database: Path) -> None:
    """End the process when the database's files are replaced: it would publish the old ones.

    While it has them open, no other process can remove them cleanly.
    """
    paths = (database, identity.log_of(database), identity.index_of(database))
    opened = [*map(identity.file_id, paths)]
    with suppress(OSError):  # a file that can't be examined is a change, too
        while [*map(identity.file_id, paths)] == opened:
            await asyncio.sleep(CHECK_FILES_S)
    log.critical("%s or its log was removed or replaced; start again to publish it", database)
    os._exit(1)  # closing the connections could remove files that aren't ours


def _run(serving: Coroutine[Any, Any, None]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
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
        proxy_headers=proxy_headers,  # ingest uses neither the client's address nor the scheme
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=DRAIN_S,
    )
    await _Server(config, on_stop).serve([listening])


class _Server(uvicorn.Server):
    """uvicorn.Server that exits with status 0 on SIGTERM instead of re-raising the signal."""

    def __init__(self, config: uvicorn.Config, on_stop: Callable[[], object]) -> None:
        super().__init__(config)
        self._on_stop = on_stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        systemd.notify_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's
        """Stop; not faster on a second signal, as Ctrl-C reaches parent and child."""
        self.should_exit = True
        self._on_stop()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        for number in signals.STOP_SIGNALS:
            signal.signal(number, self.handle_exit)
        signals.unblock()
        yield


def _keep_memory_small() -> None:
    """Return memory that a costly statement needed; glibc would keep it, in each thread."""
    with suppress(AttributeError, OSError):  # another C library
        library = ctypes.CDLL(None)
        library.mallopt(M_ARENA_MAX, 1)
        trim = library.malloc_trim

        def trim_periodically() -> None:
            while True:
                sleep(TRIM_EVERY_S)
                trim(0)

        Thread(target=trim_periodically, name="memory", daemon=True).start()
