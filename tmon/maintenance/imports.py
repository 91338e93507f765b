"""`tmon imports`: list what was imported, and undo an import while ingest goes on."""

import json
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import accumulate
from time import sleep
from typing import Any, NamedTuple

from sqlite_utils import Database

from tmon.core.errors import TmonError
from tmon.db.chunk_pacer import ChunkPacer, ChunkSizes
from tmon.db.connect import transaction
from tmon.maintenance.replace import NOTICED_S
from tmon.maintenance.rollup import hour_of, recompute

READINGS = ChunkSizes(first=500, least=100, most=10_000)

_RUNS = """
select import_runs.id, sensor, node, name, first_ms, last_ms, count,
    coalesce(first_ms < pruned_before_ms, 0), times
from import_runs cross join sensors on sensors.id = import_runs.sensor
where {which}
order by sensor, first_ms, import_runs.id
"""
_ALL = _RUNS.format(which="import = :number")
_NEXT = _RUNS.format(
    which="sensor = :sensor and import = :number and (first_ms, import_runs.id) > (:first_ms, :id)"
)

_OF_RUN = "sensor = ? and measured_ms in (select value from json_each(?))"

# Why readings of an import stay when it is undone.
MIXED = "two sensors were made one, so which readings are the import's can't be told"
PRUNED = "pruned since: only their hours are left"
GONE = "some of them are gone"
REASONS = (MIXED, PRUNED, GONE)

# Sensors without readings, without a description, and which no other table mentions.
_EMPTY = """
select id from sensors
where description is null and allow_85 = 0 and {unmentioned}
"""


class UnknownImport(TmonError):
    """There is no import of that number."""


class Run(NamedTuple):
    """Readings of a sensor that an import stored together; ``why`` they stay, or an empty text."""

    id: int
    sensor: int
    node: str
    name: str
    first_ms: int
    last_ms: int
    readings: int
    why: str
    times: list[int]


class Part(NamedTuple):
    """What undoing an import does to a sensor's readings.

    ``why`` is empty for those that are removed, or one of ``REASONS`` for those that stay.
    """

    node: str
    sensor: str
    readings: int
    first_ms: int
    last_ms: int
    why: str


def list_imports(db: Database) -> list[dict[str, Any]]:
    """The rows of the table ``imports``, the newest first."""
    return list(db.query("select * from imports order by id desc"))


def find(db: Database, number: int) -> dict[str, Any]:
    """One import's row of ``imports``.

    Raises:
        UnknownImport: there is none of that number.
    """
    for row in db.query("select * from imports where id = ?", [number]):
        return dict(row)
    raise UnknownImport(f"there is no import {number}; `tmon imports` lists them")


def plan(db: Database, number: int) -> list[Part]:
    """Which readings of an import can be removed, and which stay; nothing is changed."""
    parts: dict[tuple[int, str], Part] = {}
    for run in _runs(db, _ALL, {"number": number}):
        part = Part(run.node, run.name, run.readings, run.first_ms, run.last_ms, run.why)
        before = parts.get((run.sensor, run.why), part._replace(readings=0))
        parts[run.sensor, run.why] = part._replace(
            readings=before.readings + part.readings,
            first_ms=min(before.first_ms, part.first_ms),
            last_ms=max(before.last_ms, part.last_ms),
        )
    return sorted(parts.values())


def undo(
    db: Database,
    number: int,
    now_ms: int,
    progress: Callable[[int], object] = lambda _: None,
    pause: Callable[[float], object] = sleep,
) -> int:
    """Delete an import's readings, as far as they are still there, and no others.

    This takes many short transactions, each of which leaves the database consistent: it recomputes
    the hours and counts what was removed. After a kill, the same call continues. Sensors that
    are empty then, and of which nothing else is known, are removed.

    Returns:
        How many readings were deleted.

    Raises:
        sqlite3.Error: the database can't be written; what was deleted stays so.
    """
    db.execute("pragma synchronous = normal")  # don't wait for the disk while holding the lock
    pacer = ChunkPacer(READINGS)
    query = "select distinct sensor from import_runs where import = ? order by sensor"
    deleted = 0
    for (sensor,) in db.execute(query, [number]).fetchall():
        params = {"number": number, "sensor": sensor, "now_ms": now_ms}
        params |= {"first_ms": -(1 << 63), "id": 0}  # before any run
        while runs := pacer.run(partial(_undo_some, db, params, pacer)):
            pacer.record(sum(run.readings for run in runs))
            count = sum(run.readings for run in runs if not run.why)
            deleted += count
            progress(count)
            params |= {"first_ms": runs[-1].first_ms, "id": runs[-1].id}
    _remove_empty_sensors(db, pacer, pause)
    return deleted


def _undo_some(db: Database, params: dict[str, int], pacer: ChunkPacer) -> list[Run]:
    """One transaction: take a sensor's next runs, and delete the readings of those that can be."""
    with pacer.transaction(db):
        runs, left = [], pacer.size
        for run in _runs(db, _NEXT, params):
            runs.append(run)
            left -= max(run.readings, 1)
            if left <= 0:
                break
        removable = [run for run in runs if not run.why]
        for run in removable:
            _delete(db, run)
        if removable:
            db.execute(
                "update imports set taken_back = taken_back + :count,"
                " undone_ms = iif(taken_back + :count = stored, :now_ms, null)"
                " where id = :number",
                {**params, "count": sum(run.readings for run in removable)},
            )
    return runs


def _runs(db: Database, query: str, params: dict[str, int]) -> Iterator[Run]:
    count = f"select count(*) from readings where {_OF_RUN}"
    for *columns, is_pruned, times in db.execute(query, params):
        steps = json.loads(zlib.decompress(times)) if times else []
        run = Run._make([*columns, "", [*accumulate(steps)]])
        if not run.readings:
            yield run._replace(why=MIXED)
        elif is_pruned:
            yield run._replace(why=PRUNED)
        else:
            [left] = db.execute(count, [run.sensor, json.dumps(run.times)]).fetchone()
            yield run if left == run.readings else run._replace(why=GONE)


def _delete(db: Database, run: Run) -> None:
    """Delete a run with its readings, and recompute their hours."""
    hours = db.execute(
        "select hour_ms from hours"
        " where sensor = ? and hour_ms in (select value from json_each(?))",
        [run.sensor, json.dumps([*{hour_of(at) for at in run.times}])],
    ).fetchall()
    db.execute(f"delete from readings where {_OF_RUN}", [run.sensor, json.dumps(run.times)])
    recompute(db, run.sensor, [hour_ms for (hour_ms,) in hours])
    db.execute("delete from import_runs where id = ?", [run.id])


def _remove_empty_sensors(
    db: Database, pacer: ChunkPacer, pause: Callable[[float], object]
) -> None:
    """Remove the sensors that are left empty: ingest and import make one with its first reading."""
    unmentioned = " and ".join(
        f"not exists (select 1 from [{table.name}] as other"
        f" where other.[{key.column}] = sensors.id)"
        for table in db.tables
        for key in table.foreign_keys
        if key.other_table == "sensors" and table.name != "sensor_names"
    )
    query = _EMPTY.format(unmentioned=unmentioned)
    found = [sensor for (sensor,) in db.execute(query).fetchall()]
    if found:
        pause(NOTICED_S)  # until ingest has forgotten the number, which another sensor may get
    for sensor in found:
        pacer.run(partial(_remove_if_empty, db, sensor, query))


def _remove_if_empty(db: Database, sensor: int, query: str) -> None:
    with transaction(db):
        if db.execute(f"{query} and id = ?", [sensor]).fetchone():
            db.execute("delete from sensor_names where sensor = ?", [sensor])
            db.execute("delete from sensors where id = ?", [sensor])
