"""A station with old readings: tmon makes its nodes and sensors, SQL inserts the readings."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlite_utils import Database

from bench import peers
from bench.load import Clock, warm_up
from bench.process import Failed
from bench.shape import Node
from bench.work import Work
from tmon.core.time import DAY_MS, now_ms
from tmon.db.connect import open_database

STEP_MS = 60_000  # one-minute data
BYTES_A_READING = 50  # on disk, as measured by the row bytes
SORTING_BYTES_A_READING = 45  # in temporary files, while the index is made
SENSORS_AT_A_TIME = 100


@dataclass(frozen=True)
class Station:
    """Its folder, its nodes in the order in which they send, and the times of its readings."""

    folder: Path
    nodes: list[Node]
    readings: int
    clock: Clock

    @property
    def path(self) -> Path:
        return self.folder / "tmon.db"


def check_room(folder: Path, readings: int) -> None:
    """Check that so many readings fit on the disk.

    Raises:
        Failed: they don't.
    """
    needed = readings * (BYTES_A_READING + SORTING_BYTES_A_READING)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise Failed(
            f"{readings:,} readings need {needed / 1e9:.0f} GB of disk while they are made; "
            f"there are {free / 1e9:.0f} GB. --scratch DIR puts them on another disk"
        )


def build(work: Work, name: str, each: int) -> Station:
    """Make a station whose nodes have one sensor each, with ``each`` readings up to a day ago.

    The rows are inserted sorted, then the index is made, then ``hours``, and the trigger comes
    last: the statements of the schema, in another order.
    """
    folder = work.folder / name
    total = each * work.scale.nodes
    check_room(work.folder, total)
    nodes = work.shuffled(peers.tokens(folder, work.names()))
    clock = Clock(now_ms() - DAY_MS)
    with peers.tmon(folder, nodes) as server:
        warm_up(server, clock.next(STEP_MS))
    work.say(f"{name}: {total:,} readings, of {len(nodes):,} sensors")
    with open_database(folder / "tmon.db") as db, _later(work, db):
        _fill(work, db, each, now_ms() - DAY_MS - each * STEP_MS - DAY_MS)
    return Station(folder, nodes, total, clock)


@contextmanager
def _later(work: Work, db: Database) -> Iterator[None]:
    """Make index, ``hours`` and trigger after the readings, and without a journal."""
    later = db.execute(
        "select type, name, sql from sqlite_master "
        "where tbl_name = 'readings' and type in ('index', 'trigger') and sql is not null"
    ).fetchall()
    db.execute("pragma journal_mode = off")  # if it is interrupted, the file is deleted anyway
    db.execute("pragma synchronous = off")
    db.execute("pragma foreign_keys = off")
    db.execute("pragma cache_size = -500000")  # 500 MB
    for kind, name, _ in later:
        db.execute(f"drop {kind} {name}")
    db.execute("delete from readings")  # they made the sensors; now all rows come in order
    yield
    db.execute("delete from hours")
    work.say("  hours")
    db.execute(
        "insert into hours (sensor, hour_ms, n, sum, min, max)"
        " select sensor, measured_ms - measured_ms % 3600000 as hour_ms,"
        " count(*), sum(value), min(value), max(value) from readings group by 1, 2"
    )
    for kind, name, sql in sorted(later):
        work.say(f"  {kind} {name}")
        db.execute(sql)
    db.execute("pragma journal_mode = wal")


def _fill(work: Work, db: Database, each: int, start_ms: int) -> None:
    """Insert the readings; each sensor has its own second of the minute."""
    sensors = [row[0] for row in db.execute("select id from sensors order by id").fetchall()]
    for first in range(0, len(sensors), SENSORS_AT_A_TIME):
        some = sensors[first : first + SENSORS_AT_A_TIME]
        db.execute(
            """
            insert into readings (sensor, measured_ms, value)
            with recursive places(place) as (
                select 0 union all select place + 1 from places where place < :each - 1
            )
            select id, :start_ms + place * :step_ms + id * 7919 % :step_ms,
                20 + (place * 37 + id) % 400 / 16.0
            from sensors cross join places where id between :low and :high
            """,
            {
                "each": each,
                "start_ms": start_ms,
                "step_ms": STEP_MS,
                "low": some[0],
                "high": some[-1],
            },
        )
        done = (first + len(some)) * each
        if done % 10_000_000 == 0:
            work.say(f"  {done:,}")
