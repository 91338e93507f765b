"""`tmon sensor replace`: let a new probe continue an old one's history."""

from collections.abc import Callable
from functools import partial
from time import monotonic, sleep
from typing import NamedTuple

from sqlite_utils import Database

from tmon.core.errors import TmonError
from tmon.db.chunk_pacer import ChunkPacer, ChunkSizes
from tmon.db.connect import transaction
from tmon.db.lookup import Sensor, find_by_wire_name, find_node_uid, find_sensor
from tmon.maintenance.change_log import MERGED, REPLACED, record_change
from tmon.maintenance.names import check_sensor_name
from tmon.maintenance.rollup import MAX_MS, MIN_MS, TimeRange, recompute, time_ranges

READINGS = ChunkSizes(first=500, least=50, most=10_000)

# Ingest checks every 0.25 s whether names were changed. After this time it has forgotten the
# removed sensor's number, which another sensor may get.
NOTICED_S = 1.0

# Where both have readings in the same time, nobody can tell afterwards whose a reading was.
_MIXED = """update import_runs set count = 0 where sensor = :{own} and exists (
        select 1 from readings
        where sensor = :{other} and measured_ms between first_ms and last_ms)"""

# All else that refers to a sensor. Of its incidents, only one of a kind may be open.
_REASSIGN = (
    _MIXED.format(own="gone", other="kept"),
    _MIXED.format(own="kept", other="gone"),
    "update import_runs set sensor = :kept where sensor = :gone",
    "update or ignore limits set sensor = :kept where sensor = :gone",
    "delete from limits where sensor = :gone",
    "update flags set sensor = :kept where sensor = :gone",
    """update incidents set to_ms = max(from_ms, :now_ms)
    where sensor = :gone and to_ms is null and exists (
        select 1 from incidents as open
        where open.sensor = :kept and open.to_ms is null
            and open.finding = incidents.finding and open.subject = incidents.subject)""",
    "update incidents set sensor = :kept where sensor = :gone",
    "update mutes set sensor = :kept where sensor = :gone",
    "update notes set sensor = :kept where sensor = :gone",
    "update changes set sensor = :kept where sensor = :gone",
)

# Calibrations belong to the probe: the old one's end where the new one's readings begin.
_CALIBRATIONS = (
    """insert into calibrations (sensor, from_ms, scale, offset, reason, created_ms)
    select :gone, :first_ms, 1, 0, 'the probe was replaced', :now_ms
    where exists (select 1 from calibrations where sensor = :kept and from_ms < :first_ms)
        and not exists (
            select 1 from calibrations where sensor = :gone and from_ms <= :first_ms)""",
    """delete from calibrations where sensor = :gone and from_ms < (
        select max(from_ms) from calibrations where sensor = :gone and from_ms <= :first_ms)""",
    "update calibrations set from_ms = max(from_ms, :first_ms) where sensor = :gone",
    "update or replace calibrations set sensor = :kept where sensor = :gone",
)


class CannotReplace(TmonError):
    """These two histories can't become one; nothing was changed."""


class Merged(NamedTuple):
    """How many readings were moved into the history, and how many couldn't be."""

    taken: int
    left: int


def replace(  # noqa: PLR0913, PLR0917 - the command's arguments
    db: Database,
    node: str,
    name: str,
    wire_name: str,
    now_ms: int,
    progress: Callable[[int], object] = lambda _: None,
) -> Merged:
    """Add what a node sends as ``wire_name`` to a sensor's history from now on.

    If there is a sensor for that wire name already, its readings are moved into this history in
    short transactions, and it is removed. After a kill, the same call continues.

    Raises:
        UnknownNode: no node is called that.
        UnknownSensor: it has no such sensor.
        InvalidName: no node can send such a name.
        CannotReplace: it is this sensor already, or these two can't be one.
    """
    check_sensor_name(wire_name)
    kept, gone = _begin(db, node, name, wire_name, now_ms)
    if gone is None:
        return Merged(0, 0)
    begun_s = monotonic()
    moved = _move_readings(db, kept, gone, progress)
    sleep(max(0.0, begun_s + NOTICED_S - monotonic()))
    moved += _move_readings(db, kept, gone, progress)  # what ingest has added meanwhile
    with transaction(db):
        query = "select count(*) from readings where sensor = ?"
        left = int(db.execute(query, [gone.id]).fetchone()[0])
        if not left:
            _reassign(db, kept, gone, now_ms)
            db.execute("delete from calibrations where sensor = ?", [gone.id])
            db.execute("delete from sensors where id = ?", [gone.id])
    return Merged(moved, left)


def readings_to_take(db: Database, node: str, wire_name: str) -> int:
    """How many readings a node's sensor of that wire name has; 0 where there is none."""
    return int(
        db.execute(
            "select count(*) from readings where sensor = (select sensor from sensor_names"
            " where wire_name = ? and node_uid = (select uid from nodes where name = ?))",
            [wire_name, node],
        ).fetchone()[0]
    )


def _begin(
    db: Database, node: str, name: str, wire_name: str, now_ms: int
) -> tuple[Sensor, Sensor | None]:
    """Give the wire name to the kept sensor; returns that, and the sensor to remove if any."""
    with transaction(db):
        kept, uid = find_sensor(db, node, name), find_node_uid(db, node)
        gone = find_by_wire_name(db, uid, wire_name)
        if gone is not None and gone.id == kept.id:
            return kept, _unfinished(db, kept, wire_name)
        query = "select group_concat(wire_name, ' ') from sensor_names where sensor = ?"
        before = db.execute(query, [kept.id]).fetchone()[0]
        if gone is None:
            db.execute(
                "insert into sensor_names (node_uid, wire_name, sensor) values (?, ?, ?)",
                [uid, wire_name, kept.id],
            )
        else:
            _check(db, kept, gone)
            # The wire names first, so that ingest adds no more readings to it.
            params = {"kept": kept.id, "gone": gone.id, "now_ms": now_ms}
            db.execute("update sensor_names set sensor = :kept where sensor = :gone", params)
            query = "select min(measured_ms) from readings where sensor = ?"
            first_ms = db.execute(query, [gone.id]).fetchone()[0]
            if first_ms is not None:
                for statement in _CALIBRATIONS:
                    db.execute(statement, {**params, "first_ms": first_ms})
            _reassign(db, kept, gone, now_ms)
            label = f"{gone.node} {gone.name}"
            record_change(db, now_ms, MERGED, uid, kept.id, label, f"{kept.node} {kept.name}")
        record_change(db, now_ms, REPLACED, uid, kept.id, before, wire_name)
    return kept, gone


def _unfinished(db: Database, kept: Sensor, wire_name: str) -> Sensor:
    """The sensor whose readings an earlier, killed call was moving.

    Raises:
        CannotReplace: there is none, so the wire name is the kept sensor's own.
    """
    row = db.execute(
        "select id, node, name, unit from sensors where label in"
        " (select before from changes where sensor = ? and what = ?)"
        " and not exists (select 1 from sensor_names where sensor = sensors.id)",
        [kept.id, MERGED],
    ).fetchone()
    if row is None:
        raise CannotReplace(f"{kept.node} {kept.name} is what it sends as {wire_name} already")
    return Sensor(*row)


def _check(db: Database, kept: Sensor, gone: Sensor) -> None:
    """Refuse to merge two sensors that can't be one.

    Raises:
        CannotReplace: why.
    """
    cannot = f"{gone.node} {gone.name} can't go on as {kept.node} {kept.name}"
    if gone.node != kept.node:
        raise CannotReplace(
            f"{cannot}: that is another node's; `tmon sensor move` brings them together first"
        )
    if gone.unit != kept.unit:
        raise CannotReplace(
            f"{cannot}: it is in {gone.unit or 'no unit'}, not in {kept.unit or 'no unit'}"
            "; `tmon sensor set --unit` can give one to a sensor that has none"
        )
    _check_pruned(db, kept, gone)
    count, first = db.execute(
        "select count(*), min(theirs.measured_at) from readings as theirs"
        " cross join readings as ours on ours.sensor = ? and ours.measured_ms = theirs.measured_ms"
        " where theirs.sensor = ? and theirs.value <> ours.value",
        [kept.id, gone.id],
    ).fetchone()
    if count:
        raise CannotReplace(
            f"{cannot}: {count:,} of their readings are of the same instant and differ, the first "
            f"of {first}; nothing was changed"
        )


def _check_pruned(db: Database, kept: Sensor, gone: Sensor) -> None:
    """Refuse if raw readings were pruned that the merge would have to move or compare with."""
    query = """select gone.pruned_before_ms is not null or exists (
            select 1 from readings where sensor = gone.id and measured_ms < kept.pruned_before_ms)
        from sensors as gone, sensors as kept where gone.id = ? and kept.id = ?"""
    if db.execute(query, [gone.id, kept.id]).fetchone()[0]:
        raise CannotReplace(
            f"{gone.node} {gone.name} can't go on as {kept.node} {kept.name}: raw readings of that "
            "time were pruned, and without them nobody can tell whether one would be counted twice"
        )


def _reassign(db: Database, kept: Sensor, gone: Sensor, now_ms: int) -> None:
    for statement in _REASSIGN:
        db.execute(statement, {"kept": kept.id, "gone": gone.id, "now_ms": now_ms})


def _move_readings(
    db: Database, kept: Sensor, gone: Sensor, progress: Callable[[int], object]
) -> int:
    pacer = ChunkPacer(READINGS)
    moved, from_ms = 0, MIN_MS
    while from_ms < MAX_MS:
        part = next(time_ranges(db, gone.id, from_ms, MAX_MS, pacer.size))
        count = pacer.run(partial(_move_some, db, kept, gone, part, pacer))
        pacer.record(pacer.size)
        moved += count
        progress(count)
        from_ms = part.to_ms
    return moved


def _move_some(db: Database, kept: Sensor, gone: Sensor, part: TimeRange, pacer: ChunkPacer) -> int:
    """One transaction: move whole hours of readings, and keep both sensors' ``hourly`` right."""
    params = {**part._asdict(), "kept": kept.id}
    within = "sensor = :sensor and measured_ms >= :from_ms and measured_ms < :to_ms"
    with pacer.transaction(db):
        _check_pruned(db, kept, gone)
        db.execute(
            "insert into readings (sensor, measured_ms, value)"
            f" select :kept, measured_ms, value from readings where {within}"
            " on conflict (sensor, measured_ms) do nothing",
            params,
        )
        moved = db.execute(
            f"delete from readings where {within} and value = (select value from readings as ours"
            " where ours.sensor = :kept and ours.measured_ms = readings.measured_ms)",
            params,
        ).rowcount
        hours = db.execute(
            "select hour_ms from hours"
            " where sensor = :sensor and hour_ms >= :from_ms and hour_ms < :to_ms",
            params,
        ).fetchall()
        recompute(db, gone.id, [hour_ms for (hour_ms,) in hours])
    return int(moved)
