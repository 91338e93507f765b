"""``tmon imports``: what was imported, and an import undone while ingest goes on."""

import json
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import accumulate
from time import sleep
from typing import Any, NamedTuple

from sqlite_utils import Database

from tmon.core.errors import TmonError
from tmon.db.connect import transaction
from tmon.db.turns import Turns
from tmon.maintenance.replace import NOTICED_S
from tmon.maintenance.rollup import hour_of, remake

READINGS_AT_FIRST = 500
READINGS_AT_LEAST = 100
READINGS_AT_MOST = 10_000

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

# Why readings have to stay.
MIXED = "two sensors were made one, so which readings are the import's can't be told"
PRUNED = "pruned since: only their hours are left"
GONE = "some of them are gone"
REASONS = (MIXED, PRUNED, GONE)

# Sensors that no reading is left of, and that nothing is known of but their names.
_EMPTY = """
select id from sensors
where description is null and allow_85 = 0 and {unmentioned}
"""


class UnknownImport(TmonError):
    """There is no import of that number."""


class Run(NamedTuple):
    """Readings that an import stored, at these times; ``why`` they have to stay, if they have."""

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
    """What becomes of a sensor's readings when an import is undone.

    ``why`` is empty for those that are taken back, or one of ``REASONS`` for those that stay.
    """

    node: str
    sensor: str
    readings: int
    first_ms: int
    last_ms: int
    why: str


def listed(db: Database) -> list[dict[str, Any]]:
    """All imports, the newest first: the rows of the table ``imports``."""
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
    """What can be taken back of an import, and what has to stay; nothing is changed."""
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
    """Take an import's readings back, as far as they are still there, and no others.

    It goes in short transactions, each of which leaves all consistent: their hours are put
    right, and what is taken back is written down. Killed, the same again goes on. Sensors that
    are empty then, and of which nothing else is known, are removed.

    Returns:
        How many readings were taken back.

    Raises:
        sqlite3.Error: the database can't be written; what was taken back stays so.
    """
    db.execute("pragma synchronous = normal")  # never wait for the disk with the lock held
    turns = Turns(at_first=READINGS_AT_FIRST, at_least=READINGS_AT_LEAST, at_most=READINGS_AT_MOST)
    taken = 0
    for count in _take_all(db, number, now_ms, turns):
        taken += count
        progress(count)
    _remove_empty_sensors(db, turns, pause)
    return taken


def _take_all(db: Database, number: int, now_ms: int, turns: Turns) -> Iterator[int]:
    query = "select distinct sensor from import_runs where import = ? order by sensor"
    for (sensor,) in db.execute(query, [number]).fetchall():
        asked = {"number": number, "sensor": sensor, "now_ms": now_ms}
        asked |= {"first_ms": -(1 << 63), "id": 0}  # before any run
        while runs := turns.take(partial(_take_some, db, asked, turns)):
            turns.did(sum(run.readings for run in runs))
            yield sum(run.readings for run in runs if not run.why)
            asked |= {"first_ms": runs[-1].first_ms, "id": runs[-1].id}


def _take_some(db: Database, asked: dict[str, int], turns: Turns) -> list[Run]:
    """One transaction: the next runs of a sensor, of which those are taken back that can be."""
    with transaction(db):
        turns.lock_taken()
        runs = list(_as_many(_runs(db, _NEXT, asked), turns.size))
        good = [run for run in runs if not run.why]
        for run in good:
            _take(db, run)
        if good:
            db.execute(
                "update imports set taken_back = taken_back + :count,"
                " undone_ms = iif(taken_back + :count = stored, :now_ms, null)"
                " where id = :number",
                {**asked, "count": sum(run.readings for run in good)},
            )
    return runs


def _runs(db: Database, query: str, asked: dict[str, int]) -> Iterator[Run]:
    for *told, is_pruned, times in db.execute(query, asked):
        steps = json.loads(zlib.decompress(times)) if times else []
        run = Run._make([*told, "", [*accumulate(steps)]])
        if not run.readings:
            yield run._replace(why=MIXED)
        elif is_pruned:
            yield run._replace(why=PRUNED)
        else:
            yield run if _count(db, run) == run.readings else run._replace(why=GONE)


def _count(db: Database, run: Run) -> int:
    """How many of a run's readings are still there."""
    query = f"select count(*) from readings where {_OF_RUN}"
    return int(db.execute(query, [run.sensor, json.dumps(run.times)]).fetchone()[0])


def _as_many(runs: Iterator[Run], readings: int) -> Iterator[Run]:
    """The first of them, up to so many readings; one at least."""
    for run in runs:
        yield run
        readings -= max(run.readings, 1)
        if readings <= 0:
            return


def _take(db: Database, run: Run) -> None:
    hours = db.execute(
        "select hour_ms from hours"
        " where sensor = ? and hour_ms in (select value from json_each(?))",
        [run.sensor, json.dumps([*{hour_of(at) for at in run.times}])],
    ).fetchall()
    db.execute(f"delete from readings where {_OF_RUN}", [run.sensor, json.dumps(run.times)])
    remake(db, run.sensor, [hour_ms for (hour_ms,) in hours])
    db.execute("delete from import_runs where id = ?", [run.id])


def _remove_empty_sensors(db: Database, turns: Turns, pause: Callable[[float], object]) -> None:
    """Remove what an undone import leaves: a sensor is made with its first reading."""
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
        pause(NOTICED_S)  # until ingest has forgotten the number, which another may get
    for sensor in found:
        turns.take(partial(_remove_sensor, db, sensor, query))


def _remove_sensor(db: Database, sensor: int, query: str) -> None:
    with transaction(db):
        if db.execute(f"{query} and id = ?", [sensor]).fetchone():  # still so
            db.execute("delete from sensor_names where sensor = ?", [sensor])
            db.execute("delete from sensors where id = ?", [sensor])
