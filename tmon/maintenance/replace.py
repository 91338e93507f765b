"""``tmon sensor replace``: a new probe goes on with an old one's history."""

from collections.abc import Callable
from functools import partial
from time import monotonic, sleep
from typing import NamedTuple

from sqlite_utils import Database

from tmon.core.errors import TmonError
from tmon.db.connect import transaction
from tmon.db.lookup import Sensor, find_node, find_sensor, find_sent
from tmon.db.turns import Turns
from tmon.maintenance.changes import MERGED, REPLACED, record
from tmon.maintenance.names import check_sensor_name
from tmon.maintenance.rollup import EVER_MS, NEVER_MS, Stretch, remake, stretches

READINGS_AT_FIRST = 500
READINGS_AT_LEAST = 50
READINGS_AT_MOST = 10_000

# Ingest looks every 0.25 s whether names were changed. After that it has forgotten the
# number that goes, which another sensor may get.
NOTICED_S = 1.0

# Where both have readings at the same time, nobody can tell afterwards whose a reading was.
_MIXED = """update import_runs set count = 0 where sensor = :{own} and exists (
        select 1 from readings
        where sensor = :{other} and measured_ms between first_ms and last_ms)"""

# What else is about a sensor; of its incidents, one of a kind can be open.
_HAND_OVER = (
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
    "update changes set sensor = :kept where sensor = :gone",
)

# A calibration is a probe's: the old one's ends where the new one's readings begin.
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
    """Two histories that can't become one; nothing was changed."""


class Merged(NamedTuple):
    """``taken`` readings came into the history; ``left`` could not, as others are there by now."""

    taken: int
    left: int


def replace(  # noqa: PLR0913, PLR0917 - who, by what
    db: Database,
    node: str,
    name: str,
    wire_name: str,
    now_ms: int,
    progress: Callable[[int], object] = lambda _: None,
) -> Merged:
    """Let what a node sends as ``wire_name`` go on in a sensor's history.

    If that has been a sensor of its own, its readings come into this history, in short
    transactions, and it is no more. Killed meanwhile, the same again goes on.

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
    taken = _take_over(db, kept, gone, progress)
    sleep(max(0.0, begun_s + NOTICED_S - monotonic()))
    taken += _take_over(db, kept, gone, progress)  # what still came to it
    return Merged(taken, _end(db, kept, gone, now_ms))


def readings_to_take(db: Database, node: str, wire_name: str) -> int:
    """How many readings a node's sensor of that name has; 0 where there is none."""
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
    """The name is the kept sensor's from now on; and the sensor that has to go, if there is one."""
    with transaction(db):
        kept, uid = find_sensor(db, node, name), find_node(db, node)
        gone = find_sent(db, uid, wire_name)
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
            _hand_over(db, kept, gone, now_ms)
            label = f"{gone.node} {gone.name}"
            record(db, now_ms, MERGED, uid, kept.id, label, f"{kept.node} {kept.name}")
        record(db, now_ms, REPLACED, uid, kept.id, before, wire_name)
    return kept, gone


def _unfinished(db: Database, kept: Sensor, wire_name: str) -> Sensor:
    """The sensor whose readings were being taken over when that was stopped."""
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
    """Whether the two can be one.

    Raises:
        CannotReplace: they can't.
    """
    told = f"{gone.node} {gone.name} can't go on as {kept.node} {kept.name}"
    if gone.node != kept.node:
        raise CannotReplace(
            f"{told}: that is another node's; `tmon sensor move` brings them together first"
        )
    if gone.unit != kept.unit:
        raise CannotReplace(
            f"{told}: it is in {gone.unit or 'no unit'}, not in {kept.unit or 'no unit'}"
            "; `tmon sensor set --unit` can give one to a sensor that has none"
        )
    _check_raw(db, kept, gone)
    count, first = db.execute(
        "select count(*), min(theirs.measured_at) from readings as theirs"
        " cross join readings as ours on ours.sensor = ? and ours.measured_ms = theirs.measured_ms"
        " where theirs.sensor = ? and theirs.value <> ours.value",
        [kept.id, gone.id],
    ).fetchone()
    if count:
        raise CannotReplace(
            f"{told}: {count:,} of their readings are of the same instant and differ, the first of "
            f"{first}; nothing was changed"
        )


def _check_raw(db: Database, kept: Sensor, gone: Sensor) -> None:
    """What was pruned of the one can't be taken over, nor compared with what was of the other."""
    query = """select gone.pruned_before_ms is not null or exists (
            select 1 from readings where sensor = gone.id and measured_ms < kept.pruned_before_ms)
        from sensors as gone, sensors as kept where gone.id = ? and kept.id = ?"""
    if db.execute(query, [gone.id, kept.id]).fetchone()[0]:
        raise CannotReplace(
            f"{gone.node} {gone.name} can't go on as {kept.node} {kept.name}: raw readings of that "
            "time were pruned, and without them nobody can tell whether one would be counted twice"
        )


def _hand_over(db: Database, kept: Sensor, gone: Sensor, now_ms: int) -> None:
    """Names first, so that no reading comes to it any more; and all that is about it."""
    asked = {"kept": kept.id, "gone": gone.id, "now_ms": now_ms}
    query = "select min(measured_ms) from readings where sensor = ?"
    first_ms = db.execute(query, [gone.id]).fetchone()[0]
    db.execute("update sensor_names set sensor = :kept where sensor = :gone", asked)
    if first_ms is not None:
        for statement in _CALIBRATIONS:
            db.execute(statement, {**asked, "first_ms": first_ms})
    _hand_over_the_rest(db, kept, gone, now_ms)


def _hand_over_the_rest(db: Database, kept: Sensor, gone: Sensor, now_ms: int) -> None:
    for statement in _HAND_OVER:
        db.execute(statement, {"kept": kept.id, "gone": gone.id, "now_ms": now_ms})


def _take_over(db: Database, kept: Sensor, gone: Sensor, progress: Callable[[int], object]) -> int:
    turns = Turns(at_first=READINGS_AT_FIRST, at_least=READINGS_AT_LEAST, at_most=READINGS_AT_MOST)
    taken, from_ms = 0, EVER_MS
    while from_ms < NEVER_MS:
        stretch = next(stretches(db, gone.id, from_ms, NEVER_MS, turns.size))
        count = turns.take(partial(_take_some, db, kept, gone, stretch, turns))
        turns.did(turns.size)
        taken += count
        progress(count)
        from_ms = stretch.to_ms
    return taken


def _take_some(db: Database, kept: Sensor, gone: Sensor, stretch: Stretch, turns: Turns) -> int:
    """Whole hours of readings from the one to the other; both their ``hourly`` stay right."""
    asked = {**stretch._asdict(), "kept": kept.id}
    within = "sensor = :sensor and measured_ms >= :from_ms and measured_ms < :to_ms"
    with transaction(db):
        turns.lock_taken()
        _check_raw(db, kept, gone)
        db.execute(
            "insert into readings (sensor, measured_ms, value)"
            f" select :kept, measured_ms, value from readings where {within}"
            " on conflict (sensor, measured_ms) do nothing",
            asked,
        )
        taken = db.execute(
            f"delete from readings where {within} and value = (select value from readings as ours"
            " where ours.sensor = :kept and ours.measured_ms = readings.measured_ms)",
            asked,
        ).rowcount
        hours = db.execute(
            "select hour_ms from hours"
            " where sensor = :sensor and hour_ms >= :from_ms and hour_ms < :to_ms",
            asked,
        ).fetchall()
        remake(db, gone.id, [hour_ms for (hour_ms,) in hours])
    return int(taken)


def _end(db: Database, kept: Sensor, gone: Sensor, now_ms: int) -> int:
    """The sensor is no more, unless readings of it are left: how many."""
    with transaction(db):
        query = "select count(*) from readings where sensor = ?"
        left = int(db.execute(query, [gone.id]).fetchone()[0])
        if not left:
            _hand_over_the_rest(db, kept, gone, now_ms)
            db.execute("delete from calibrations where sensor = ?", [gone.id])
            db.execute("delete from sensors where id = ?", [gone.id])
    return left
