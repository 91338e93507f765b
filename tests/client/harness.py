"""What the client meets: a sysfs tree with sensors, a clock, and a server that answers as told."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from client import client
from client.client import Clock, Instant

CLIENT = Path(client.__file__)
TOKEN = "tmon_cellar.u1d.1.s1gnature"
MINUTE_MS, HOUR_MS = 60_000, 3_600_000
GOOD = "72 01 4b 46 7f ff 0e 10 57"  # the kernel's own example: 23.125 °C


# The spool of the first version.
FIRST_SCHEMA = """
CREATE TABLE readings (
  id INTEGER PRIMARY KEY, sensor TEXT NOT NULL, value REAL NOT NULL, unit TEXT,
  wall_ms INTEGER NOT NULL, monotonic_ms INTEGER NOT NULL, boot TEXT NOT NULL,
  told_ms INTEGER NOT NULL, measured_ms INTEGER
);
CREATE UNIQUE INDEX one_at_a_time ON readings (sensor, measured_ms);
CREATE INDEX unsettled ON readings (id) WHERE measured_ms IS NULL;
CREATE TABLE refused (
  id INTEGER PRIMARY KEY, sensor TEXT NOT NULL, value REAL NOT NULL, unit TEXT,
  measured_ms INTEGER NOT NULL, code TEXT NOT NULL, reason TEXT NOT NULL
);
CREATE TABLE boots (
  boot TEXT PRIMARY KEY, offset_ms INTEGER NOT NULL, learned_monotonic_ms INTEGER NOT NULL
);
CREATE TABLE state (key TEXT PRIMARY KEY, value NOT NULL);
CREATE TABLE news (topic TEXT PRIMARY KEY, gist TEXT NOT NULL, told_ms INTEGER NOT NULL);
PRAGMA application_id = 1953329006
"""


def scratchpad(raw: str, thousandths: int, crc: str = "YES") -> str:
    """A ``w1_slave`` file as the kernel prints it."""
    return f"{raw} : crc={raw[-2:]} {crc}\n{raw} t={thousandths}\n"


def listed(root: Path) -> list[client.Probe | str]:
    """All that is found under a tree, as far as it can be listed."""
    results = (device.probes() for device in client.find_devices(root))
    return [item for result in results if not isinstance(result, str) for item in result]


def probes(root: Path) -> list[client.Probe]:
    """The sensors found under a tree, by the names that a new station gives them."""
    found = [item for item in listed(root) if isinstance(item, client.Probe)]
    return list(client.unique_names(found, {}))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class SysfsTree:
    """Makes a tree of sensors as the kernel shows it: devices, and links to them by class."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, text: str) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def thermometer(
        self, chip: str = "28-0316a2f2c3ff", text: str = scratchpad(GOOD, 23125)
    ) -> Path:
        return self.write(f"bus/w1/devices/{chip}/w1_slave", text)

    def zone(self, number: int, kind: str, millidegrees: int) -> Path:
        self.write(f"class/thermal/thermal_zone{number}/type", f"{kind}\n")
        return self.write(f"class/thermal/thermal_zone{number}/temp", f"{millidegrees}\n")

    def chip(self, bus: str, entry: str, device: str, files: dict[str, str]) -> Path:
        """A chip at ``device`` (its address), shown as ``bus``/``entry``, as by real links."""
        home = f"devices/{device}/{entry}"
        for name, text in files.items():
            self.write(f"{home}/{name}", f"{text}\n")
        link = self.root / bus / entry
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(self.root / home)
        (self.root / home / "device").symlink_to(self.root / f"devices/{device}")
        return self.root / home

    def hwmon(self, number: int, device: str, **files: str) -> Path:
        return self.chip("class/hwmon", f"hwmon{number}", device, files)

    def iio(self, number: int, device: str, **files: str) -> Path:
        return self.chip("bus/iio/devices", f"iio:device{number}", device, files)


class FakeClock(Clock):
    """A clock that shows what the test says."""

    def __init__(self, wall_ms: int, *, synchronised: bool = True) -> None:
        self.wall_ms = wall_ms
        self.monotonic_ms = 50_000
        self.boot = "boot-1"
        self.synchronised = synchronised

    def now(self) -> Instant:
        return Instant(self.wall_ms, self.monotonic_ms, self.boot, self.synchronised)

    def sleep(self, seconds: float) -> None:
        self.pass_ms(round(seconds * 1000))

    def pass_ms(self, ms: int) -> None:
        self.wall_ms += ms
        self.monotonic_ms += ms

    def reboot(self, boot: str, wall_ms: int) -> None:
        self.boot, self.wall_ms, self.monotonic_ms = boot, wall_ms, 50_000


@dataclass(frozen=True)
class Request:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any

    @property
    def readings(self) -> list[dict[str, Any]]:
        readings: list[dict[str, Any]] = self.body["readings"]
        return readings


@dataclass(frozen=True)
class Reply:
    """One answer; its last ``cut`` bytes are promised and never come."""

    status: int
    body: Any = ""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int = 0
    delay_s: float = 0

    def content(self) -> bytes:
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


Responder = Callable[[Request], Reply]


class FakeServer:
    """Stores readings as tmon does, unless it is told how to answer."""

    def __init__(self) -> None:
        self.stored: dict[tuple[str, int], float] = {}
        self.conflicts: list[dict[str, Any]] = []
        self.requests: list[Request] = []
        self.next: deque[Reply | Responder] = deque()
        self.always: Reply | Responder | None = None
        self.health: Reply | None = None
        self.dated = False
        self.requests_lost = 0
        self.closes_late = False  # each connection at its second request, without an answer
        self.time_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    @property
    def posts(self) -> list[Request]:
        return [request for request in self.requests if request.method == "POST"]

    def store(self, request: Request) -> Reply:
        """Store the batch, and give a receipt."""
        accepted, rejected = 0, []
        with self._lock:
            for index, reading in enumerate(request.readings):
                key = (reading["sensor"], reading["measured_ms"])
                if key not in self.stored:
                    self.stored[key] = reading["value"]
                    accepted += 1
                elif self.stored[key] != reading["value"]:
                    self.conflicts.append(reading)
                    rejected.append({"index": index, "code": "conflict", "error": "another value"})
        duplicates = len(request.readings) - accepted - len(rejected)
        return Reply(201, {"accepted": accepted, "duplicates": duplicates, "rejected": rejected})

    def answer(self, request: Request) -> Reply:
        self.requests.append(request)
        if request.path.endswith("/healthz"):
            return self.health or Reply(200, {"status": "ok", "time_ms": self.time_ms()})
        respond = self.next.popleft() if self.next else self.always or self.store
        return respond if isinstance(respond, Reply) else respond(request)

    @contextmanager
    def running(self) -> Iterator[FakeServer]:
        thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            thread.join()
            self._http.server_close()

    def _handler(server) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - two selves here
        class Handler(BaseHTTPRequestHandler):
            answered = False

            def setup(self) -> None:
                super().setup()
                self.protocol_version = "HTTP/1.1" if server.closes_late else "HTTP/1.0"

            def log_message(self, *_: object) -> None:
                pass

            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                raw = self.rfile.read(length)
                if len(raw) < length:  # the client was killed
                    return
                if server.closes_late and self.answered:
                    server.requests_lost += 1
                    self.close_connection = True
                    return
                self.answered = True
                body = json.loads(raw) if raw else None
                request = Request(self.command, self.path, dict(self.headers), body)
                reply = server.answer(request)
                time.sleep(reply.delay_s)
                try:
                    self._send(reply)
                except OSError:  # the client was killed
                    self.close_connection = True

            def _send(self, reply: Reply) -> None:
                content = reply.content()
                self.send_response_only(reply.status)
                if server.dated:
                    self.send_header("Date", formatdate(server.time_ms() / 1000, usegmt=True))
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) - reply.cut])

            do_GET = do_POST = _serve  # noqa: N815 - names that http.server asks for

        return Handler


@dataclass(frozen=True)
class Ran:
    """What a run of the client left behind."""

    status: int
    out: str
    err: str

    @property
    def said(self) -> list[str]:
        """Lines without their time; most nodes here have no sensors, which is said too."""
        lines = [line.partition(" ")[2] for line in self.err.splitlines()]
        return [line for line in lines if not line.startswith("no sensor found")]


Once = Callable[..., Ran]


class Node:
    """A machine with sensors, on which the client runs."""

    def __init__(self, folder: Path, server: FakeServer) -> None:
        self.spool = folder / "state" / "spool.db"
        self.sysfs = SysfsTree(folder / "sys")
        self.environ = {
            "TMON_URL": server.url,
            "TMON_TOKEN": TOKEN,
            "TMON_SYSFS": str(self.sysfs.root),
            "TMON_SPOOL": str(self.spool),
            "TMON_JITTER_S": "0",
            "RUNTIME_DIRECTORY": str(folder),  # for the trouble that is told, not this machine's
            "HOME": str(folder),
        }

    def start(
        self, *flags: str, before: Callable[[], object] | None = None, **environ: str
    ) -> subprocess.Popen[str]:
        """Start the client; ``before`` is done in the new process, such as to limit it."""
        return subprocess.Popen(
            [sys.executable, str(CLIENT), "--strict", *flags],
            env={"PATH": os.environ["PATH"], **self.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=before,  # noqa: PLW1509 - it takes no lock that a thread could hold
        )

    def run(self, *flags: str, before: Callable[[], object] | None = None, **environ: str) -> Ran:
        with self.start(*flags, before=before, **environ) as process:
            out, err = process.communicate(timeout=60)
        return Ran(process.returncode, out, err)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask the spool, by a second connection."""
        with closing(sqlite3.connect(self.spool, timeout=60)) as db:
            return db.execute(sql).fetchall()

    def kept(self) -> list[tuple[Any, ...]]:
        made = self.spool.exists() and self.query("SELECT 1 FROM sqlite_master")
        if not made:  # the client has only just begun
            return []
        return self.query("SELECT sensor, value, measured_ms FROM readings ORDER BY id")

    def refused(self) -> list[tuple[Any, ...]]:
        return self.query("SELECT sensor, code, reason FROM refused ORDER BY id")

    def fill(self, count: int, sensor: str = "load") -> None:
        """Keep so many settled readings, a second apart, as earlier runs would have."""
        first_ms = time.time_ns() // 1_000_000 - count * 1000
        last_ms = first_ms + count * 1000
        with client.Spool(self.spool) as spool:
            spool.learn_time(self._instant(last_ms), last_ms)
            spool.add(
                [
                    client.Reading(sensor, float(n), None, self._instant(first_ms + n * 1000))
                    for n in range(count)
                ]
            )

    @contextmanager
    def first_version(self) -> Iterator[sqlite3.Connection]:
        """A spool as the first version made it, to be filled."""
        self.spool.parent.mkdir()
        with closing(sqlite3.connect(self.spool)) as db:
            db.executescript(FIRST_SCHEMA)
            yield db
            db.commit()

    def _instant(self, wall_ms: int) -> Instant:
        return Instant(wall_ms, wall_ms, "an earlier boot", synchronised=True)
