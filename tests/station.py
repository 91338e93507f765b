"""A station to test: the real app, on a real port, over a real file."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
import uvicorn
from sqlite_utils import Database

from ingest.app import create_app
from ingest.http import HttpConnection
from tests.forked import tmon as tmon
from tmon.core.settings import Settings
from tmon.db import tokens
from tmon.db.connect import open_database, open_for_reading
from tmon.store.writer_process import run_writer


class Station:
    """Where a station is, and what one can ask of it from outside."""

    def __init__(self, folder: Path, url: str) -> None:
        self.path = folder / "tmon.db"
        self.url = url
        self.settings = Settings.load({"TMON_DB": str(self.path)})
        self.http = requests.Session()
        self.http.trust_env = False

    def token(self, node: str = "basement") -> str:
        return next(tokens.get_or_create(self.settings, [node], _open_file))

    def post(self, body: Any, *, node: str = "basement", **kwargs: Any) -> requests.Response:
        """Post JSON, or bytes as they are, as ``node``."""
        headers = {"Authorization": f"Bearer {self.token(node)}", **kwargs.pop("headers", {})}
        how = {"data": body} if isinstance(body, bytes) else {"json": body}
        return self.http.post(f"{self.url}/readings", headers=headers, timeout=60, **how, **kwargs)

    def query(self, sql: str, parameters: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        """What a second connection sees, as Datasette has one."""
        with open_for_reading(self.path) as db:
            return list(db.execute(sql, list(parameters)).fetchall())

    def count(self, table: str = "readings") -> int:
        return int(self.query(f"select count(*) from {table}")[0][0])


def _open_file(settings: Settings) -> Database:
    return open_database(settings.db, create=True, in_cluster=True)


@contextmanager
def station_in_thread(
    folder: Path, environ: Mapping[str, str] | None = None, **clocks: Callable[[], Any]
) -> Iterator[Station]:
    """The ingest app under uvicorn in a thread of this process."""
    settings = Settings.load({"TMON_DB": str(folder / "tmon.db"), **(environ or {})})
    open_database(settings.db, create=True).close()
    with running(
        create_app(settings, writer_in_thread(settings.db), **clocks), HttpConnection
    ) as url:
        yield Station(folder, url)


@contextmanager
def station_in_process(folder: Path) -> Iterator[Station]:
    """``tmon serve ingest`` as a process of its own, as beside Datasette in this one."""
    open_database(folder / "tmon.db", create=True).close()
    process = Process(folder, "serve", "ingest", "--port", "0")
    try:
        yield Station(folder, process.addresses(1)["ingest"])
        process.popen.terminate()
        status, stderr = process.end()
        assert status == 0, stderr
    finally:
        process.kill()


def writer_in_thread(path: Path) -> socket.socket:
    """A socket to a writer, which ends when it is closed; `tmon serve` has it in a process."""
    ours, theirs = socket.socketpair()
    threading.Thread(target=run_writer, args=[theirs, path]).start()
    return ours


@contextmanager
def running(app: Any, protocol: type[HttpConnection]) -> Iterator[str]:
    """Any ASGI app on a port the system picks."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=protocol, log_config=None, lifespan="auto", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=[[listening]])
    thread.start()
    wait_for(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


class Process:
    """``tmon`` with some arguments as a process of its own, and the addresses it printed."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        environ: Mapping[str, str] | None = None,
        stderr: Any = subprocess.PIPE,
        command: Sequence[str] = (sys.executable, "-m", "tmon"),
    ):
        self.popen = subprocess.Popen(
            [*command, *arguments],
            cwd=folder,
            env={**os.environ, **(environ or {})},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
        )

    def addresses(self, count: int) -> dict[str, str]:
        """The first ``count`` lines it prints: name and address, without the path."""
        assert self.popen.stdout is not None
        lines = [self.popen.stdout.readline().split() for _ in range(count)]
        return {name: url.split("/", 3)[0] + "//" + url.split("/", 3)[2] for name, url in lines}

    def end(self) -> tuple[int, str]:
        """Its exit status and what it wrote to stderr."""
        _, stderr = self.popen.communicate(timeout=240)
        return self.popen.returncode, stderr

    def kill(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.communicate(timeout=240)


def wait_for(condition: Any, seconds: float = 120, pause_s: float = 0.01) -> None:
    """Wait until something holds; fail if it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(pause_s)


def holds_within_a_second(condition: Callable[[], bool]) -> None:
    """Who asks a second later finds that it holds, however long the answer takes."""
    began_s = time.monotonic()
    asked_s = began_s
    while not condition():
        assert asked_s - began_s < 1
        asked_s = time.monotonic()


def free(url: str) -> bool:
    """Whether nobody listens there any more."""
    port = int(url.rpartition(":")[2])
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def answers(url: str) -> bool:
    """Whether a page is there."""
    try:
        return requests.get(url, timeout=60).status_code == 200
    except requests.RequestException:
        return False


def hourly_equals_raw(db: Database) -> bool:
    """Whether ``hourly`` says what SQL over the raw readings says."""
    query = """
        with raw as (
            select sensor, measured_ms - ((measured_ms % 3600000) + 3600000) % 3600000 as hour_ms,
                count(*) as n, sum(value) as sum, min(value) as min, max(value) as max
            from readings group by 1, 2
        )
        select count(*) from raw full join hourly using (sensor, hour_ms)
        where raw.n is not hourly.n or raw.min is not hourly.min or raw.max is not hourly.max
            or abs(raw.sum - hourly.sum) > 1e-9 * max(1, abs(raw.sum))
    """
    return bool(db.execute(query).fetchone()[0] == 0)
