"""A station on one NATS server: its ingest and its sinks as threads of the test."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import nats
from nats.aio.client import Client

from ingest.app import create_app
from ingest.http import HttpConnection
from tests.station import Station, running, tmon, wait_for
from tmon.core.settings import Settings
from tmon.db.connect import open_for_reading
from tmon.store.writer_process import run_writer
from tmon.stream.connection import ask
from tmon.stream.positions import read_positions
from tmon.stream.sink import sink_until
from tmon.stream.sink_writer import sink_writer
from tmon.stream.streams import all_states

T = TypeVar("T")
PROGRAM = Path(sys.executable).with_name("nats-server")


class Server:
    """A NATS server; its port stays the same when it starts again."""

    def __init__(
        self, folder: Path, *, more: str = "", scheme: str = "nats", jetstream: bool = True
    ) -> None:
        self.folder = folder
        self.scheme = scheme
        self.port = -1
        store = f"jetstream {{ store_dir: {folder}/store, sync_interval: always }}\n"
        self._more = (store if jetstream else "") + more
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        (self.folder / "nats.conf").write_text(
            f"listen: 127.0.0.1:{self.port}\nports_file_dir: {self.folder}\n{self._more}"
        )
        self._process = subprocess.Popen(
            [PROGRAM, "-c", self.folder / "nats.conf", "-l", self.folder / "log"]
        )
        ports = self.folder / f"nats-server_{self._process.pid}.ports"
        wait_for(lambda: ports.exists() and ports.stat().st_size > 0)
        self.port = int(json.loads(ports.read_text())["nats"][0].rpartition(":")[2])

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None

    def send(self, number: signal.Signals) -> None:
        """Such as SIGSTOP, after which it is connected and silent."""
        assert self._process is not None
        os.kill(self._process.pid, number)
        if number == signal.SIGSTOP:
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)


@contextmanager
def one_server(folder: Path, *, more: str = "", scheme: str = "nats") -> Iterator[Server]:
    """A NATS server that runs; ``more`` is what its configuration has besides."""
    server = Server(folder, more=more, scheme=scheme)
    server.start()
    try:
        yield server
    finally:
        server.stop(signal.SIGKILL)


class Machine:
    """One machine of a station: a folder with its file, and settings."""

    def __init__(self, folder: Path, server: str, environ: Mapping[str, str] | None = None) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.path = folder / "tmon.db"
        self.environ = {"TMON_STREAM": server, "TMON_DB": str(self.path), **(environ or {})}
        self.settings = Settings.load(self.environ)

    def tmon(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return tmon(self.folder, *arguments, environ=self.environ)

    def tmon_alone(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """A command before the cluster begins."""
        ran = tmon(self.folder, *arguments, environ={**self.environ, "TMON_STREAM": ""})
        assert ran.returncode == 0, ran.stderr
        return ran

    def make_node(self, name: str) -> None:
        """Make a node before the cluster begins."""
        self.tmon_alone("token", "get", name)

    def create_streams(self, *more: str) -> None:
        """Begin the cluster with this machine's file."""
        ran = self.tmon("stream", "create", "--replicas", "1", "--gigabytes", "1", *more)
        assert ran.returncode == 0, ran.stderr

    @contextmanager
    def ingest(self) -> Iterator[Station]:
        """Its ingest; its file is asked by the station's ``query``."""
        with running(create_app(self.settings, None), HttpConnection) as url:
            yield Station(self.folder, url)

    @contextmanager
    def sink(self, patience_s: float = 1.0) -> Iterator["Future[None]"]:
        """Its sink; the future is done when that ends by itself."""
        ended: Future[None] = Future()
        loop, stopping = asyncio.new_event_loop(), asyncio.Event()
        ours, theirs = socket.socketpair()
        writer = threading.Thread(
            target=run_writer, args=[theirs, self.path, sink_writer], kwargs={"in_cluster": True}
        )

        def run() -> None:
            try:
                loop.run_until_complete(sink_until(stopping, self.settings, ours, patience_s))
            except Exception as error:
                ended.set_exception(error)
            else:
                ended.set_result(None)
            finally:
                loop.close()

        thread = threading.Thread(target=run)
        for each in (writer, thread):
            each.start()
        try:
            yield ended
        finally:
            if not ended.done():
                loop.call_soon_threadsafe(stopping.set)
            for each in (thread, writer):
                each.join()

    def sequences(self) -> list[int]:
        """How far its file is, by partition."""
        with open_for_reading(self.path) as db:
            return [position.sequence for position in read_positions(db)]

    def wait_until_current(self) -> None:
        """Wait until its file has all that the streams have."""
        lasts = [state.last for state in self.ask(all_states)]
        wait_for(lambda: self.sequences() == lasts)

    def ask(self, question: Callable[[Client], Awaitable[T]]) -> T:
        """What the servers answer."""
        return ask(self.settings, "test", question)


def begun(folder: Path, servers: str) -> Machine:
    """The first machine of a cluster, with a node."""
    machine = Machine(folder, servers)
    machine.make_node("basement")
    machine.create_streams()
    return machine


def delete_streams(url: str) -> None:
    """Leave a server as it was at first."""

    async def run() -> None:
        client = await nats.connect(url)
        stream = client.jetstream()
        for info in await stream.streams_info():
            await stream.delete_stream(str(info.config.name))
        await client.close()

    asyncio.run(run())
