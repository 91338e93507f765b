"""A disk that is slow or hangs: what healthz says, what is refused, what is dropped."""

import asyncio
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from starlette.types import Message

from ingest.api import STUCK_S
from ingest.app import Endpoint, create_app
from ingest.http import HttpConnection
from ingest.writer_client import WINDOW_READINGS
from tests.station import Station, free, running, wait_for
from tests.test_metrics import samples
from tests.test_writer import Held, Ingest, runs
from tests.test_writer_client import Clock
from tmon.core.settings import Settings
from tmon.db.connect import open_database
from tmon.store.writer import batch_writer

NOON_MS = 1_795_176_000_000
HALF_A_WINDOW = [
    {"sensor": "large", "value": 1, "measured_ms": NOON_MS + i} for i in range(WINDOW_READINGS // 2)
]


class Stuck:
    """A station whose disk holds every sync until it is released, and whose clock is the test's."""

    def __init__(self, station: Station, clock: Clock, disk: Held) -> None:
        self.station = station
        self.clock = clock
        self.disk = disk
        self.pool = ThreadPoolExecutor()

    def post(self, body: Any) -> "Future[requests.Response]":
        """Begin to post; by a session of its own, as others wait."""
        headers = {"Authorization": f"Bearer {self.station.token()}"}
        url = f"{self.station.url}/readings"
        return self.pool.submit(requests.post, url, json=body, headers=headers, timeout=60)

    def healthz(self) -> requests.Response:
        return requests.get(f"{self.station.url}/healthz", timeout=60)

    def wait_for_backlog(self, readings: int) -> None:
        wait_for(lambda: self.healthz().json()["backlog"] == readings)

    def connection(self) -> socket.socket:
        port = int(self.station.url.rpartition(":")[2])
        return socket.create_connection(("127.0.0.1", port), timeout=60)

    def request(self, body: bytes) -> bytes:
        return (
            f"POST /readings HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.station.token()}"
            f"\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body


@pytest.fixture
def stuck(tmp_path: Path) -> Iterator[Stuck]:
    path = tmp_path / "tmon.db"
    settings = Settings.load({"TMON_DB": str(path)})
    open_database(path, create=True).close()
    ours, theirs = socket.socketpair()
    disks: list[Held] = []

    def write() -> None:
        with theirs, open_database(path) as db, closing(Held(db)) as disk:
            disks.append(disk)
            batch_writer(db, disk, theirs).run()

    threading.Thread(target=write).start()
    wait_for(lambda: disks)
    clock = Clock()
    with running(create_app(settings, ours, clock), HttpConnection) as url:
        stuck = Stuck(Station(tmp_path, url), clock, disks[0])
        try:
            yield stuck
        finally:
            disks[0].released.set()
            stuck.pool.shutdown()


def test_while_the_disk_hangs_healthz_says_stuck_and_posts_are_refused(stuck: Stuck) -> None:
    sent = stuck.post({"value": 1})
    stuck.wait_for_backlog(1)
    well = stuck.healthz()
    assert (well.status_code, well.json()["status"]) == (200, "ok")
    stuck.clock.now_s += STUCK_S + 1
    health = stuck.healthz()
    assert health.status_code == 503
    assert health.json().keys() == {"error", "code", "time_ms", "backlog", "oldest_waiting_s"}
    assert health.json()["code"] == "stuck"
    assert health.json()["oldest_waiting_s"] == STUCK_S + 1
    assert requests.head(f"{stuck.station.url}/healthz", timeout=60).status_code == 503
    assert samples(stuck.station.url)["tmon_oldest_waiting_seconds"] == STUCK_S + 1
    with stuck.connection() as unread:  # the body never comes
        unread.sendall(stuck.request(b"x" * 1000)[:-1000])
        answer = unread.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: " in answer
    assert b'"overloaded"' in answer
    stuck.disk.released.set()
    assert sent.result().json()["accepted"] == 1
    again = stuck.healthz()
    assert (again.status_code, again.json()["oldest_waiting_s"]) == (200, 0)
    assert stuck.post({"value": 2}).result().status_code == 201


def closed(connection: socket.socket) -> bytes:
    connection.close()
    return b""


def reset(connection: socket.socket) -> bytes:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()
    return b""


def half_closed(connection: socket.socket) -> bytes:
    connection.shutdown(socket.SHUT_WR)
    return b"overloaded"


@pytest.mark.parametrize("leave", [closed, reset, half_closed])
def test_a_queued_batch_of_a_sender_that_disconnected_is_not_stored(
    stuck: Stuck, leave: Callable[[socket.socket], bytes]
) -> None:
    full = [stuck.post(HALF_A_WINDOW), stuck.post(HALF_A_WINDOW)]
    stuck.wait_for_backlog(WINDOW_READINGS)
    with stuck.connection() as leaving:
        leaving.sendall(stuck.request(b'{"sensor": "left", "value": 1}'))
        stuck.wait_for_backlog(WINDOW_READINGS + 1)
        stays = stuck.post({"sensor": "stays", "value": 1})
        stuck.wait_for_backlog(WINDOW_READINGS + 2)
        heard = leave(leaving)
        stuck.healthz()  # so the server has seen it
        time.sleep(0.05)
        stuck.disk.released.set()
        assert heard in (leaving.recv(65_536) if heard else b"")
    assert stays.result().status_code == 201
    assert sum(one.result().json()["accepted"] for one in full) == WINDOW_READINGS // 2
    assert [*stuck.station.query("select name from sensors where name <> 'large'")] == [("stays",)]


def test_a_batch_at_the_writer_is_stored_and_answered_after_a_half_close(stuck: Stuck) -> None:
    with stuck.connection() as leaving:
        leaving.sendall(stuck.request(b'{"sensor": "left", "value": 1}'))
        leaving.shutdown(socket.SHUT_WR)
        stuck.wait_for_backlog(1)
        stuck.disk.released.set()
        assert b'"accepted":1' in leaving.recv(65_536)


def test_a_request_that_is_cancelled_at_shutdown_gets_503() -> None:
    said: list[Message] = []

    async def never(_: Any) -> Any:
        await asyncio.sleep(60)

    async def send(message: Message) -> None:
        said.append(message)

    async def run() -> None:
        scope = {"type": "http", "method": "POST", "headers": []}
        task = asyncio.create_task(Endpoint(POST=never)(scope, None, send))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        task.cancel()
        await task

    asyncio.run(run())
    assert said[0]["status"] == 503
    assert json.loads(said[1]["body"])["code"] == "unavailable"


@pytest.mark.soak  # it waits for what takes ten seconds, twice
def test_ingest_ends_although_its_writer_is_stopped(
    tmp_path: Path,
) -> None:
    ingest = Ingest(tmp_path)
    try:
        assert ingest.post("before") == 201
        os.kill(ingest.writer, signal.SIGSTOP)
        with ThreadPoolExecutor() as pool:
            first = pool.submit(ingest.post, "first")
            wait_for(lambda: ingest.backlog() == 1)
            wait_for(lambda: requests.get(f"{ingest.url}/healthz", timeout=1).status_code == 503)
            began_s = time.monotonic()
            assert requests.get(f"{ingest.url}/healthz", timeout=1).json()["code"] == "stuck"
            assert ingest.post("second") == 503
            assert time.monotonic() - began_s < STUCK_S
            ingest.process.popen.terminate()
            wait_for(lambda: free(ingest.url))
            assert ingest.process.popen.wait(timeout=60) == 0
            assert time.monotonic() - began_s < 60
            assert first.result() == 503
        os.kill(ingest.writer, signal.SIGCONT)
        _, stderr = ingest.process.end()
        assert "the writing process is stuck" in stderr
        assert "Traceback" not in stderr
        wait_for(lambda: not runs(ingest.writer))
    finally:
        if runs(ingest.writer):
            os.kill(ingest.writer, signal.SIGCONT)
        ingest.process.kill()
