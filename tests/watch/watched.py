"""A station's file to check, at instants that the test gives."""

import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tmon.core.settings import Settings
from tmon.db.connect import open_database, transaction
from tmon.db.job_runs import JobRun
from tmon.db.lookup import Sensor, find_sensor
from tmon.watch import incidents, mutes, sensor_limits
from tmon.watch.check import CheckOptions, Report, run_checks
from tmon.watch.checks.reachability import Addresses
from tmon.watch.findings import Finding
from tmon.watch.sensor_limits import LimitChange

NOW_MS = 1_795_348_800_000  # 2026-11-22T12:00:00Z
SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS = 1000, 60_000, 3_600_000, 86_400_000
NOWHERE = Addresses("", "", remote=False)


class StationReport(Report):
    """Without T13, whichever SQLite this machine has."""

    def add(self, finding: Finding) -> None:
        if finding.number != "T13":
            super().add(finding)


class Watched:
    """A database with nodes and sensors, and rounds of ``tmon check`` over it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "tmon.db"
        self.settings = Settings.load({"TMON_DB": str(self.path)})
        self.db = open_database(self.path, create=True)
        self.db.execute("pragma synchronous = off")  # the tests pull no plugs
        self.db.execute("insert into chores values ('backup', ?, 'ok')", [NOW_MS * 2])

    def node(self, name: str, **columns: Any) -> None:
        row = {"created_ms": 0, "last_received_ms": NOW_MS, **columns}
        self.db.table("nodes").insert({"name": name, "uid": f"uid of {name}", **row})

    def sensor(
        self, node: str, name: str = "temperature", unit: str | None = "°C", *, imported: int = 0
    ) -> Sensor:
        row = {"node": node, "name": name, "unit": unit, "imported": imported}
        self.db.table("sensors").insert(row)
        return find_sensor(self.db, node, name)

    def measure(self, sensor: Sensor, readings: Iterable[tuple[int, float]]) -> None:
        with transaction(self.db):
            self.db.conn.executemany(
                "insert into readings (sensor, measured_ms, value) values (?, ?, ?)",
                [(sensor.id, at_ms, value) for at_ms, value in readings],
            )

    def every_minute(self, sensor: Sensor, *values: float, until_ms: int = NOW_MS) -> None:
        """Readings a minute apart, the last of them at ``until_ms``."""
        first_ms = until_ms - (len(values) - 1) * MINUTE_MS
        self.measure(sensor, [(first_ms + i * MINUTE_MS, v) for i, v in enumerate(values)])

    def limit(self, sensor: Sensor, created_ms: int = 0, **given: Any) -> None:
        sensor_limits.set_limit(self.db, sensor, LimitChange(**given), created_ms)

    def mute(self, what: str, until_ms: int) -> None:
        mutes.mute(self.db, what, until_ms, 0)

    def check(self, now_ms: int = NOW_MS, **how: Any) -> Report:
        """What ``tmon check`` finds."""
        report = StationReport()
        options = CheckOptions(self.settings, NOWHERE, now_ms, **how)
        run_checks(options, report, lambda _: None)
        assert report.unknown == []
        return report

    def found(self, now_ms: int = NOW_MS, *numbers: str) -> list[str]:
        """The lines of these numbers."""
        lines = self.check(now_ms).lines()
        return [line for line in lines if not numbers or line.startswith(numbers)]

    def run(self, now_ms: int = NOW_MS, **how: Any) -> list[tuple[str, str]]:
        """The events that ``tmon check --notify`` would write: what, and the line."""
        [last] = self.db.execute("select coalesce(max(id), 0) from events").fetchone()
        report = self.check(now_ms, **how)
        done = {**report.jobs_done, "check": JobRun(now_ms, "ok")}
        incidents.record(self.db, report.findings, now_ms, skipped=report.skipped, jobs_done=done)
        rows = self.db.execute("select what, message from events where id > ? order by id", [last])
        return [*dict.fromkeys(rows.fetchall())]

    def incidents(self, number: str = "T") -> list[tuple[Any, ...]]:
        """Number, since when, until when."""
        rows = self.db.execute(
            "select finding, from_ms, to_ms from incidents where finding glob ? order by from_ms",
            [f"{number}*"],
        )
        return list(rows.fetchall())


@dataclass
class Answering:
    """An HTTP server; what it says at each path, with which status."""

    url: str = ""
    says: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    @property
    def port(self) -> str:
        return self.url.rpartition(":")[2]


def tmon_says(time_ms: int = NOW_MS) -> dict[str, tuple[int, bytes]]:
    """What ingest and Datasette say when all is well."""
    healthz = json.dumps({"status": "ok", "time_ms": time_ms, "backlog": 0}).encode()
    return {
        "/healthz": (200, healthz),
        "/-/versions.json": (200, b'{"datasette": {"version": "1.0a41"}}'),
        "/tmon/readings.json": (200, b'{"rows": [{"measured_ms": 9999999999999}]}'),
    }


@contextmanager
def answering(says: Mapping[str, tuple[int, bytes]]) -> Iterator[Answering]:
    server = Answering(says=dict(says))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append(self.path)
            status, body = server.says.get(self.path.partition("?")[0], (404, b"{}"))
            self.send_response(status)
            self.send_header("location", "/elsewhere")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        server.url = f"http://127.0.0.1:{listening.server_address[1]}"
        thread = threading.Thread(target=listening.serve_forever, args=[0.01])
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown()
            thread.join()
