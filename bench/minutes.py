"""Row bytes: the size on disk of fourteen days of one-minute data, everything included."""

import random
import time
from collections.abc import Iterator
from math import pi, sin
from pathlib import Path

from bench import peers
from bench.bulk import send
from bench.load import check_stored
from bench.peers import Server
from bench.process import settle
from bench.shape import Node, Point
from bench.work import SEED, Work
from tmon.core.time import DAY_MS, now_ms
from tmon.db.connect import open_database

MINUTE_MS = 60_000
EMPTY_LOG_BYTES = 64 * 1024  # the size of an empty log
SOON = "1s"  # InfluxDB compresses its data this long after the last write, instead of 4 hours


def run(work: Work) -> None:
    readings = work.scale.minute_sensors * work.scale.minutes
    for name, used_bytes in (("tmon", _tmon(work)), ("InfluxDB", _influx(work))):
        if used_bytes:
            work.record.add("bytes.reading", name, used_bytes / readings)
            work.say(f"bytes: {name} {used_bytes / readings:.1f} a reading, of {readings:,}")


def _tmon(work: Work) -> int:
    path = work.folder / "minutes" / "tmon.db"
    nodes = peers.tokens(path.parent, ["gateway"])
    with peers.tmon(path.parent, nodes) as server:
        _fill(work, server)
    with open_database(path) as db:
        db.execute("pragma wal_checkpoint(truncate)")
    return sum(file.stat().st_blocks * 512 for file in path.parent.glob("tmon.db*"))


def _influx(work: Work) -> int:
    """The size of its data and log, after it has compressed everything."""
    if not work.has_influx():
        return 0
    folder = work.folder / "minutes" / "influxdb"
    nodes = [Node("gateway", "")]
    with peers.influxdb(folder, nodes, snapshot=SOON, compact=SOON) as server:
        _fill(work, server)
        _wait_until_compressed(folder / "wal", work.scale.patience_s)
        settle(server.pid, work.scale.patience_s)
    return _disk_bytes(folder / "data") + _disk_bytes(folder / "wal")


def _wait_until_compressed(log: Path, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while _disk_bytes(log) > EMPTY_LOG_BYTES and time.monotonic() < deadline:
        time.sleep(0.2)


def _disk_bytes(folder: Path) -> int:
    """The size of files on disk as du counts it: InfluxDB's files have holes."""
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())


def _fill(work: Work, server: Server) -> None:
    """For each minute, a request with one reading of each sensor."""
    work.say(f"bytes: {work.scale.minutes:,} minutes into {server.name} over HTTP")
    start_ms = (now_ms() // DAY_MS - 15) * DAY_MS
    send(server.port, _requests(work, server, start_ms))
    check_stored(server, start_ms, work.scale.minute_sensors * work.scale.minutes)


def _requests(work: Work, server: Server, start_ms: int) -> Iterator[bytes]:
    noise = random.Random(SEED)  # noqa: S311 - no secret
    for minute in range(work.scale.minutes):
        warmth = 20 + 5 * sin(2 * pi * minute / 1440)
        points = [
            Point(
                f"t{sensor:03}",
                start_ms + minute * MINUTE_MS,
                f"{round((warmth + sensor / 10 + noise.gauss(0, 0.1)) * 16) / 16:.4f}",
            )
            for sensor in range(work.scale.minute_sensors)
        ]
        yield server.shape.request(server.nodes[0], points)
