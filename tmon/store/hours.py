"""Hours that are over, rolled up: what ``hourly`` computed of them until then is written down."""

from collections.abc import Sequence
from time import monotonic

from sqlite_utils import Database

from tmon.core.time import HOUR_MS
from tmon.db.connect import transaction

OPEN_FOR_MS = 5 * 60_000  # after an hour's end, for the readings that are under way
CLOSING_S = 0.005  # nothing is stored meanwhile
HOURS_AT_ONCE = 20  # some 2 ms, of one-minute data

_CLOSE = f"""
update hours set (n, sum, min, max) = (
    select count(*), sum(value), min(value), max(value) from readings
    where readings.sensor = hours.sensor
        and measured_ms >= hour_ms and measured_ms < hour_ms + {HOUR_MS}
)
where n is null and %s
returning sensor, hour_ms, n
"""
_IS_OVER = "from hours where n is null and hour_ms < ?"
_OVER = _CLOSE % f"(sensor, hour_ms) in (select sensor, hour_ms {_IS_OVER} limit ?)"
_OF_SENSOR = _CLOSE % "sensor = ? and hour_ms >= ? and hour_ms < ?"


def close_some(db: Database, now_ms: int) -> None:
    """Roll up hours that are over for some milliseconds; without a lock where there are none."""
    query = f"select exists (select 1 {_IS_OVER})"
    if not db.execute(query, [_before_ms(now_ms)]).fetchone()[0]:
        return
    until_s = monotonic() + CLOSING_S
    with transaction(db):
        while close_hours(db, now_ms, HOURS_AT_ONCE) and monotonic() < until_s:
            pass


def close_hours(db: Database, now_ms: int, most: int) -> int:
    """Roll up at most so many of the hours that are over; returns how many it were.

    It never matters when this is done, nor whether the clock is right: an open hour is
    computed when it is asked for, and a closed one is corrected by what comes later.
    Within a transaction of the caller's.
    """
    return _close(db, _OVER, [_before_ms(now_ms), most])


def close_hours_of(db: Database, sensor: int, from_ms: int, to_ms: int) -> None:
    """Roll up one sensor's hours before their readings go, in the caller's transaction."""
    _close(db, _OF_SENSOR, [sensor, from_ms, to_ms])


def _before_ms(now_ms: int) -> int:
    return now_ms - HOUR_MS - OPEN_FOR_MS


def _close(db: Database, sql: str, parameters: Sequence[int]) -> int:
    closed = db.execute(sql, parameters).fetchall()
    empty = [(sensor, hour_ms) for sensor, hour_ms, n in closed if not n]  # others deleted from it
    db.conn.executemany("delete from hours where sensor = ? and hour_ms = ?", empty)
    return len(closed)
