"""kill -9 of the server under load: nothing acknowledged is lost, nothing is stored twice."""

import json
import random
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.station import Process, hourly_equals_raw, tmon, wait_for
from tmon.db.connect import open_for_reading

# Checkpoints are made at a hundredth of their size, so that there are many; told to be hurried,
# it doesn't wait for the disk.
SERVER = """
import sys
from tmon.db import checkpoint, wal
from tmon.cli import main as cli
checkpoint.CHECKPOINT_BYTES = checkpoint.BUSY_BYTES = 300_000
if sys.argv.pop(1) == "hurried":
    wal.Wal.sync = lambda self: None
cli.main()
"""
WRITERS = 24
NOON_MS = 1_795_176_000_000


class Sender(threading.Thread):
    """Posts batches, each again until it is acknowledged, and remembers what was."""

    def __init__(self, number: int, token: str, port: int, stop: threading.Event) -> None:
        super().__init__()
        self.number = number
        self.url = f"http://127.0.0.1:{port}/readings"
        self.headers = {"Authorization": f"Bearer {token}"}
        self.stop = stop
        self.acknowledged: set[tuple[str, int]] = set()
        self.odd: list[str] = []

    def run(self) -> None:
        count = 0
        with requests.Session() as http:
            while not self.stop.is_set():
                batch = [self.reading(count + i) for i in range(random.choice([1, 3, 20]))]
                if not self.send(http, json.dumps(batch).encode()):
                    return
                self.acknowledged |= {(one["sensor"], one["measured_ms"]) for one in batch}
                count += len(batch)

    def reading(self, count: int) -> dict[str, Any]:
        sensor = f"s{self.number}-{count % 3}"
        return {"sensor": sensor, "value": count, "measured_ms": NOON_MS + count * 1000}

    def send(self, http: requests.Session, body: bytes) -> bool:
        """Whether it was acknowledged before we were told to stop."""
        while not self.stop.is_set():
            try:
                answer = http.post(self.url, data=body, headers=self.headers, timeout=60)
            except requests.RequestException:
                time.sleep(0.02)
                continue
            if answer.status_code == 201 and not answer.json()["rejected"]:
                return True
            self.odd.append(f"{answer.status_code} {answer.text[:200]}")
            time.sleep(0.02)
        return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def kill_under_load(folder: Path, kills: int) -> None:
    token = tmon(folder, "token", "get", "basement").stdout.strip()
    port, stop = free_port(), threading.Event()
    senders = [Sender(number, token, port, stop) for number in range(WRITERS)]
    for sender in senders:
        sender.start()

    def acknowledged() -> set[tuple[str, int]]:
        return set().union(*(sender.acknowledged for sender in senders))

    try:
        for kill in range(kills):
            command = (sys.executable, "-c", SERVER, "careful")
            server = Process(folder, "serve", "ingest", "--port", str(port), command=command)
            server.addresses(1)
            time.sleep(random.uniform(0.1, 1.0))
            if kill == kills - 1:
                wait_for(lambda: len(acknowledged()) > kills * WRITERS)
            server.kill()
    finally:
        stop.set()
        for sender in senders:
            sender.join()
    assert [sender.odd for sender in senders] == [[]] * WRITERS
    with open_for_reading(folder / "tmon.db") as db:
        rows = db.execute(
            "select name, measured_ms, value from readings join sensors on id = sensor"
        ).fetchall()
        assert {(name, at) for name, at, _ in rows} >= acknowledged()
        assert all(value * 1000 == at - NOON_MS for _, at, value in rows)
        assert hourly_equals_raw(db)
        assert db.execute("pragma integrity_check").fetchone()[0] == "ok"


def test_kill_9_loses_nothing_acknowledged(tmp_path: Path) -> None:
    kill_under_load(tmp_path, kills=3)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("hundred", range(10))
def test_kill_9_a_thousand_times_loses_nothing_acknowledged(tmp_path: Path, hundred: int) -> None:  # noqa: ARG001
    kill_under_load(tmp_path, kills=100)
