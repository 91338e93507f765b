"""Hours that are over, rolled up: what ``hourly`` computed of them until then is written down."""

from collections.abc import Sequence

from sqlite_utils import Database

HOUR_MS = 3_600_000
OPEN_FOR_MS = 5 * 60_000  # after an hour's end, for the readings that are under way

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


def any_to_close(db: Database, now_ms: int) -> bool:
    """Whether there are hours to roll up; this takes no lock."""
    query = f"select exists (select 1 {_IS_OVER})"
    return bool(db.execute(query, [_before_ms(now_ms)]).fetchone()[0])


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
