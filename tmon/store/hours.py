"""Close hours that are over: store in ``hours`` what the view ``hourly`` computed until then."""

from collections.abc import Sequence
from time import monotonic

from sqlite_utils import Database

from tmon.core.time import HOUR_MS
from tmon.db.connect import transaction

DUE_MS = HOUR_MS + 5 * 60_000  # after an hour's begin; five minutes for readings under way
CLOSING_S = 0.005  # no reading is stored meanwhile
HOURS_AT_ONCE = 20  # about 2 ms with a reading a minute

_CLOSE = f"""
update hours set (n, sum, min, max) = (
    select count(*), sum(value), min(value), max(value) from readings
    where readings.sensor = hours.sensor
        and measured_ms >= hour_ms and measured_ms < hour_ms + {HOUR_MS}
)
where n is null and %s
returning sensor, hour_ms, n
"""
_OPEN_BEFORE = "from hours where n is null and hour_ms < ?"
_CLOSE_DUE = _CLOSE % f"(sensor, hour_ms) in (select sensor, hour_ms {_OPEN_BEFORE} limit ?)"
_CLOSE_OF_SENSOR = _CLOSE % "sensor = ? and hour_ms >= ? and hour_ms < ?"


def close_due_hours(db: Database, now_ms: int) -> None:
    """Close hours for a few milliseconds; takes the write lock only if one is due."""
    query = f"select exists (select 1 {_OPEN_BEFORE})"
    if not db.execute(query, [now_ms - DUE_MS]).fetchone()[0]:
        return
    until_s = monotonic() + CLOSING_S
    with transaction(db):
        while close_hours(db, now_ms, HOURS_AT_ONCE) and monotonic() < until_s:
            pass


def close_hours(db: Database, now_ms: int, most: int) -> int:
    """Close at most so many due hours in the caller's transaction; returns how many.

    It doesn't matter when, nor whether the clock is right: an open hour is computed when
    it is queried, and later readings correct a closed one.
    """
    return _close(db, _CLOSE_DUE, [now_ms - DUE_MS, most])


def close_hours_of(db: Database, sensor: int, from_ms: int, to_ms: int) -> None:
    """Close one sensor's hours before their readings are deleted, in the caller's transaction."""
    _close(db, _CLOSE_OF_SENSOR, [sensor, from_ms, to_ms])


def _close(db: Database, sql: str, parameters: Sequence[int]) -> int:
    closed = db.execute(sql, parameters).fetchall()
    # Hours whose readings were deleted need no row.
    empty = [(sensor, hour_ms) for sensor, hour_ms, n in closed if not n]
    db.conn.executemany("delete from hours where sensor = ? and hour_ms = ?", empty)
    return len(closed)
