"""Send readings to a real ingest at a steady pace, and keep those it acknowledged."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import requests

from tests.station import Process, tmon
from tests.test_kill import free_port

EACH = 10  # readings of a request
EVERY_S = 0.05
NOON_MS = 1_795_176_000_000


class Acknowledged(NamedTuple):
    """A reading, and when its receipt was there (``time.monotonic``)."""

    sensor: str
    measured_ms: int
    at_s: float


class Load:
    """``writers`` senders: each 200 readings a second, as long as the server keeps up."""

    def __init__(self, folder: Path, writers: int) -> None:
        self.folder = folder
        self.token = tmon(folder, "token", "get", "basement").stdout.strip()
        self.port = free_port()
        self.server = Process(folder, "serve", "ingest", "--port", str(self.port))
        self.server.addresses(1)
        self._acknowledged: list[Acknowledged] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=[n]) for n in range(writers)]
        for thread in self._threads:
            thread.start()

    def acknowledged(self) -> list[Acknowledged]:
        """Up to now."""
        return [*self._acknowledged]

    def kill(self) -> None:
        """End all of the server by kill -9, the process that writes too; and the senders."""
        if self.server.popen.poll() is None:
            os.killpg(self.server.popen.pid, signal.SIGKILL)
        self.server.kill()
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _send(self, number: int) -> None:
        start, count = time.monotonic(), 0
        with requests.Session() as http:
            http.headers["Authorization"] = f"Bearer {self.token}"
            while not self._stop.is_set():
                batch = [
                    {"sensor": f"s{number}-{i}", "value": count, "measured_ms": NOON_MS + count}
                    for i in range(EACH)
                ]
                try:
                    answer = http.post(
                        f"http://127.0.0.1:{self.port}/readings", json=batch, timeout=60
                    )
                except requests.RequestException:
                    return  # it was killed
                assert answer.status_code == 201, answer.text
                at_s = time.monotonic()
                self._acknowledged += [
                    Acknowledged(str(one["sensor"]), NOON_MS + count, at_s) for one in batch
                ]
                count += 1
                self._stop.wait(max(0, start + count * EVERY_S - at_s))


@contextmanager
def load(folder: Path, writers: int) -> Iterator[Load]:
    running = Load(folder, writers)
    try:
        yield running
    finally:
        running.kill()
