"""Rows single, many and batch: storing readings, all peers in turn."""

import random
import time
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

from sqlite_utils import Database

from bench import peers
from bench.load import BATCH, MANY, SINGLE, Clock, Load, Outcome, drive
from bench.work import SEED, WRITERS, Work
from tmon.core.time import now_ms
from tmon.db.connect import open_database, transaction

LOADS = {load.name: load for load in (SINGLE, MANY, BATCH)}
# Peers that only show a limit are measured with one number of connections.
ONLY = {peers.DATASETTE_NAME: (SINGLE, BATCH), peers.NULL_NAME: (SINGLE,)}
START_MS = 22 * 3_600_000  # before now: room for three rounds, with readings of the last day


def run(work: Work) -> None:
    loads = [load for name, load in LOADS.items() if name in work.rows]
    names = work.names()
    nodes = work.shuffled(peers.tokens(work.folder / peers.TMON_NAME, names))
    clocks = {name: Clock(now_ms() - START_MS) for name in WRITERS}
    limit = _Limit(work.folder / "limit.db", work.scale.nodes)
    for number in range(work.scale.rounds):
        for name, start in WRITERS.items():
            mine = [load for load in loads if load in ONLY.get(name, loads)]
            if name in work.absent or not mine:
                continue
            with start(work.folder / name, nodes) as server:
                for load in mine:
                    outcome = drive(server, load, clocks[name], work.scale.seconds, work.folder)
                    _note(work, load, name, outcome, number)
        for load in loads:
            if load is not MANY:
                _note(work, load, peers.SQLITE_NAME, limit.run(load, work.scale.seconds), number)


def _note(work: Work, load: Load, name: str, outcome: Outcome, number: int) -> None:
    work.record.add(f"{load.name}.rate", name, outcome.rate)
    work.record.add(f"{load.name}.cpu_rate", name, outcome.cpu_rate)
    latency = ""
    if name != peers.SQLITE_NAME:
        work.record.add(f"{load.name}.p99_ms", name, outcome.p99_ms)
        latency = f"   p99 {outcome.p99_ms:.1f} ms"
    work.say(
        f"{load.name}, round {number + 1}: {name:20} {outcome.rate:9,.0f}/s "
        f"{outcome.cpu_rate:9,.0f} a CPU-second{latency}"
    )


class _Limit:
    """The limit that SQLite sets: the same rows into the same schema by ``executemany``.

    A transaction has as many rows as all connections together can send at a time.
    """

    def __init__(self, path: Path, nodes: int) -> None:
        self._db: Database = open_database(path, create=True)
        self._clock = Clock(now_ms() - START_MS)
        self._sensors = list(range(1, nodes + 1))
        with transaction(self._db):
            self._db.conn.executemany(
                "insert into nodes (name, uid, created_ms) values (?, ?, 0)",
                ((f"n{one}", str(one)) for one in self._sensors),
            )
            self._db.conn.executemany(
                "insert into sensors (id, node, name) values (?, ?, 'temperature')",
                ((one, f"n{one}") for one in self._sensors),
            )
        random.Random(SEED).shuffle(self._sensors)  # noqa: S311 - no secret

    def run(self, load: Load, seconds: float) -> Outcome:
        rows = self._rows(load, self._clock.next(load.window_ms))
        readings, spent_s, cpu_s = 0, 0.0, 0.0
        while spent_s < seconds:
            batch = sorted(islice(rows, load.connections * load.count))
            began_s, began_cpu_s = time.monotonic(), time.process_time()
            with transaction(self._db):
                self._db.conn.executemany(
                    "insert into readings (sensor, measured_ms, value) values (?, ?, ?)", batch
                )
            spent_s += time.monotonic() - began_s
            cpu_s += time.process_time() - began_cpu_s
            readings += len(batch)
        return Outcome(readings // load.count, readings, spent_s, cpu_s, p50_ms=0, p99_ms=0)

    def _rows(self, load: Load, start_ms: int) -> Iterator[tuple[int, int, float]]:
        for turn in count():
            first_ms = start_ms + turn * load.count * load.step_ms
            for sensor in self._sensors:
                for place in range(load.count):
                    yield sensor, first_ms + place * load.step_ms, 15 + place / 10
