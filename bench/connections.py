"""`python -m bench.connections`: how abusive connections affect other requests.

It stores readings and loads Datasette's smallest page while ten or a hundred connections are idle,
send a byte a second, or send requests without end and read nothing. The table compares latencies
and memory with those without such connections.
"""

import json
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path

import click
from tabulate import tabulate

from bench.process import Process, answers, free_port, pss_bytes, running

EVERY_S = 0.01  # between two measured requests
SETTLE_S = 3.0
READINGS = 10_000
NOON_MS = 1_795_176_000_000

INGEST = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
DATASETTE = b"GET /tmon/readings?_size=1000 HTTP/1.1\r\nHost: x\r\n\r\n"

Attack = Callable[[socket.socket, threading.Event], None]


def idle(_: socket.socket, end: threading.Event) -> None:
    """Connect and send nothing."""
    end.wait(5)


def trickle(sock: socket.socket, end: threading.Event) -> None:
    """Send a byte of a header a second."""
    sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
    while not end.wait(1):
        sock.sendall(b"a")


def never_read(request: bytes) -> Attack:
    """Send requests as long as the server takes them, and read nothing."""

    def ask(sock: socket.socket, end: threading.Event) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        sock.settimeout(1)
        while not end.is_set():
            with suppress(TimeoutError):
                sock.sendall(request * 1_000)

    return ask


@contextmanager
def attackers(port: int, attack: Attack, count: int) -> Iterator[None]:
    """Keep ``count`` connections open; those that the server closes are opened again."""
    end = threading.Event()

    def come_back() -> None:
        while not end.is_set():
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as sock:
                attack(sock, end)
            end.wait(0.1)

    threads = [threading.Thread(target=come_back) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        end.set()
        for thread in threads:
            thread.join()


def latencies_ms(
    port: int, seconds: float, ask: Callable[[HTTPConnection, int], None]
) -> list[float]:
    """How long each request took, sorted."""
    took, client = [], HTTPConnection("127.0.0.1", port, timeout=60)
    until_s = time.monotonic() + seconds
    number = int(time.time() * 1000)
    while time.monotonic() < until_s:
        began_s = time.monotonic()
        number += 1
        ask(client, number)
        took.append(1000 * (time.monotonic() - began_s))
        time.sleep(EVERY_S)
    client.close()
    return sorted(took)


class Station:
    """A station of this checkout, with one node and ten thousand readings."""

    def __init__(self, process: Process, folder: Path, port: int, pages_port: int) -> None:
        self.port, self.pages_port, self._process = port, pages_port, process
        process.wait_until(lambda: answers(port, "/healthz"))
        command = [sys.executable, "-m", "tmon", "token", "get", "n", "--db"]
        with running([*command, str(folder / "tmon.db")], folder / "token") as printed:
            printed.wait_until(lambda: "tmon_" in printed.output())
            self._headers = {"Authorization": f"Bearer {printed.output().strip()}"}
        readings = [{"value": n % 30, "measured_ms": NOON_MS + n} for n in range(READINGS)]
        self._post(HTTPConnection("127.0.0.1", port), readings)
        process.wait_until(lambda: answers(pages_port, "/robots.txt"))

    def store_one(self, client: HTTPConnection, number: int) -> None:
        self._post(client, [{"value": 1, "measured_ms": NOON_MS - 10**10 + number % 10**9}])

    def page(self, client: HTTPConnection, _: int) -> None:
        client.request("GET", "/robots.txt")
        client.getresponse().read()

    def memory_mb(self) -> float:
        return sum(pss_bytes(self._process.pid).values()) / 1e6

    def _post(self, client: HTTPConnection, readings: list[dict[str, int]]) -> None:
        client.request("POST", "/readings", json.dumps(readings), self._headers)
        answer = client.getresponse()
        answer.read()
        assert answer.status == 201, answer.status  # noqa: S101 - else nothing was measured


@click.command()
@click.option("--seconds", default=10.0, help="for each row")
def main(seconds: float) -> None:
    """Measure, and print a table."""
    with tempfile.TemporaryDirectory() as temporary:
        folder, port, pages_port = Path(temporary), free_port(), free_port()
        ports = ["--port", str(port), "--datasette-port", str(pages_port)]
        command = [sys.executable, "-m", "tmon", "serve", *ports]
        with running(command, folder) as process:
            station = Station(process, folder, port, pages_port)
            print(tabulate(rows(station, seconds), headers="keys", floatfmt=".1f"))


def rows(station: Station, seconds: float) -> Iterator[dict[str, object]]:
    """Measure with each kind and number of connections, on both ports at once."""
    kinds: list[tuple[str, Attack, Attack]] = [
        ("idle", idle, idle),
        ("trickle", trickle, trickle),
        ("never read", never_read(INGEST), never_read(DATASETTE)),
    ]
    yield row("nobody", 0, station, seconds)
    for name, on_ingest, on_datasette in kinds:
        for count in (10, 100):
            with (
                attackers(station.port, on_ingest, count),
                attackers(station.pages_port, on_datasette, count),
            ):
                time.sleep(SETTLE_S)
                yield row(name, count, station, seconds)
    time.sleep(SETTLE_S)
    yield row("nobody again", 0, station, seconds)


def row(name: str, count: int, station: Station, seconds: float) -> dict[str, object]:
    stored = latencies_ms(station.port, seconds, station.store_one)
    pages = latencies_ms(station.pages_port, seconds, station.page)
    return {
        "connections": f"{count} {name}",
        "POST p50 ms": stored[len(stored) // 2],
        "p99": stored[len(stored) * 99 // 100],
        "most": stored[-1],
        "page p50 ms": pages[len(pages) // 2],
        "p99 ": pages[len(pages) * 99 // 100],
        "most ": pages[-1],
        "memory MB": station.memory_mb(),
    }


if __name__ == "__main__":
    main()
