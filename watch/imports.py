"""``tmon imports``: what was imported, and an import undone while ingest goes on."""

from collections.abc import Callable, Iterator
from functools import partial
from time import sleep
from typing import Any, NamedTuple

from sqlite_utils import Database

from ingest.errors import TmonError
from ingest.schema import transaction
from ingest.turns import Turns
from watch.replace import NOTICED_S
from watch.rollup import hour_of, remake

READINGS_AT_FIRST = 500
READINGS_AT_LEAST = 100
READINGS_AT_MOST = 10_000

# Readings of a run that are counted: far more than an import's runs have. Only others among
# its readings keep a run that long.
COUNTED = 20_000

# An import's runs, and why one can't be taken back: a key of REASONS, or null where it can.
_RUNS = f"""
select import_runs.id, sensor, node, name, first_ms, last_ms, count,
    case
        when count = 0 then 'mixed'
        when first_ms < pruned_before_ms then 'pruned'
        when count > {COUNTED} then 'others'
        else case
            min(1, (
                select count(*) from (
                    select 1 from readings
                    where readings.sensor = import_runs.sensor
                        and measured_ms between first_ms and last_ms
                    limit {COUNTED + 1}
                )
            ) - count)
            when 0 then null
            when 1 then 'others'
            else 'gone'
        end
    end
from import_runs cross join sensors on sensors.id = import_runs.sensor
where {{which}}
order by sensor, first_ms, import_runs.id
"""
_ALL = _RUNS.format(which="import = :number")
_NEXT = _RUNS.format(
    which="sensor = :sensor and import = :number and (first_ms, import_runs.id) > (:first_ms, :id)"
)

REASONS = {
    "mixed": "two sensors were made one, so which readings are the import's can't be told",
    "pruned": "pruned since: only their hours are left",
    "gone": "some of them are gone",
    "others": "other readings came among them since",
}

# Sensors that no reading is left of, and that nothing is known of but their names.
_EMPTY = """
select id from sensors
where description is null and allow_85 = 0 and {unmentioned}
"""


class UnknownImport(TmonError):
    """There is no import of that number."""


class Run(NamedTuple):
    """Readings that an import stored; ``why`` is a key of ``REASONS`` if they have to stay."""

    id: int
    sensor: int
    node: str
    name: str
    first_ms: int
    last_ms: int
    readings: int
    why: str | None


class Part(NamedTuple):
    """What becomes of a sensor's readings when an import is undone.

    ``why`` is empty for those that are taken back, or says why these stay.
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
    parts: dict[tuple[int, str | None], Part] = {}
    for run in map(Run._make, db.execute(_ALL, {"number": number})):
        part = Part(
            run.node,
            run.name,
            run.readings,
            run.first_ms,
            run.last_ms,
            REASONS[run.why] if run.why else "",
        )
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
    """Take an import's readings back, as far as they are still all there and no others among them.

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
            yield sum(run.readings for run in runs if run.why is None)
            asked |= {"first_ms": runs[-1].first_ms, "id": runs[-1].id}


def _take_some(db: Database, asked: dict[str, int], turns: Turns) -> list[Run]:
    """One transaction: the next runs of a sensor, of which those are taken back that can be."""
    with transaction(db):
        turns.lock_taken()
        runs = list(_as_many(map(Run._make, db.execute(_NEXT, asked)), turns.size))
        good = [run for run in runs if run.why is None]
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


def _as_many(runs: Iterator[Run], readings: int) -> Iterator[Run]:
    """The first of them, up to so many readings; one at least."""
    for run in runs:
        yield run
        readings -= max(run.readings, 1)
        if readings <= 0:
            return


def _take(db: Database, run: Run) -> None:
    within = {"sensor": run.sensor, "first_ms": run.first_ms, "last_ms": run.last_ms}
    hours = db.execute(
        "select hour_ms from hours where sensor = :sensor and hour_ms between :first_hour_ms"
        " and :last_ms",
        {**within, "first_hour_ms": hour_of(run.first_ms)},
    ).fetchall()
    db.execute(
        "delete from readings"
        " where sensor = :sensor and measured_ms between :first_ms and :last_ms",
        within,
    )
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
