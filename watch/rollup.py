"""Whether `hourly` says what the readings say."""

from sqlite_utils import Database

HOUR_MS = 3_600_000


def differences(db: Database, since_ms: int | None) -> int:
    """How many hours differ, of all or those since then; hours of pruned readings don't count.

    One sensor at a time, so that no long read keeps the log from being written back.
    """
    sensors = db.execute("select id, pruned_before_ms from sensors").fetchall()
    return sum(_of_sensor(db, sensor, since_ms, pruned_ms) for sensor, pruned_ms in sensors)


def _of_sensor(db: Database, sensor: int, since_ms: int | None, pruned_ms: int | None) -> int:
    given = [_whole_hour(ms) for ms in (since_ms, pruned_ms) if ms is not None]
    from_ms = max(given, default=-(2**62))
    query = f"""
        with raw as (
            select {_floor("measured_ms")} as hour_ms, count(*) as n, sum(value) as sum,
                min(value) as min, max(value) as max
            from readings where sensor = :sensor and measured_ms >= :from_ms group by 1
        ),
        kept as (select * from hourly where sensor = :sensor and hour_ms >= :from_ms)
        select count(*) from raw full join kept using (hour_ms)
        where raw.n is not kept.n or raw.min is not kept.min or raw.max is not kept.max
            or abs(raw.sum - kept.sum) > 1e-9 * max(1, abs(raw.sum))
    """
    [count] = db.execute(query, {"sensor": sensor, "from_ms": from_ms}).fetchone()
    return int(count)


def _whole_hour(ms: int) -> int:
    """The first hour that begins at ``ms`` or later."""
    return -(-ms // HOUR_MS) * HOUR_MS


def _floor(column: str) -> str:
    return f"({column} - (({column} % {HOUR_MS}) + {HOUR_MS}) % {HOUR_MS})"
