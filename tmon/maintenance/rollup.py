"""Compare ``hourly`` with the raw readings, and recompute the hours that differ."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from sqlite_utils import Database

from tmon.core.errors import TmonError
from tmon.core.time import HOUR_MS
from tmon.db.chunk_pacer import ChunkPacer, ChunkSizes

MIN_MS, MAX_MS = -(1 << 62), 1 << 62  # before and after any time
BYTES_PER_READING = 41  # with the index on time, see docs/decisions/0006
COMPARED_AT_ONCE = 20_000  # readings and hours: a statement of about 10 ms
READINGS = ChunkSizes(first=5_000, least=500, most=20_000)

# A sum may differ in its last digits, as floats do that were added in another order.
_DIFFERING = """
with bounds as materialized (
    select max(:from_ms, coalesce(pruned_before_ms, :from_ms)) as from_ms
    from sensors where id = :sensor
)
select hour_ms from (
    select measured_ms - ((measured_ms % 3600000) + 3600000) % 3600000 as hour_ms,
        count(*) as raw_n, sum(value) as raw_sum, sum(abs(value)) as size,
        min(value) as raw_min, max(value) as raw_max,
        null as n, null as sum, null as min, null as max
    from readings
    where sensor = :sensor
        and measured_ms >= (select from_ms from bounds) and measured_ms < :to_ms
    group by 1
    union all
    select hour_ms, null, null, null, null, null, n, sum, min, max
    from hourly
    where sensor = :sensor and hour_ms >= (select from_ms from bounds) and hour_ms < :to_ms
)
group by hour_ms
having max(raw_n) is not max(n) or max(raw_min) is not max(min) or max(raw_max) is not max(max)
    or abs(max(raw_sum) - max(sum)) > 1e-9 * max(size)
order by hour_ms
"""

_RECOMPUTE = """
insert into hours (sensor, hour_ms, n, sum, min, max)
select sensor, :hour_ms, count(*), sum(value), min(value), max(value)
from readings
where sensor = :sensor and measured_ms >= :hour_ms and measured_ms < :hour_ms + 3600000
group by sensor
"""


class RollupDiffers(TmonError):
    """``hourly`` does not say what the raw readings say, where it must."""


class TimeRange(NamedTuple):
    """Whole hours of one sensor; ``size`` is about how many readings and hours they hold."""

    sensor: int
    from_ms: int
    to_ms: int
    size: int


class SensorReadings(NamedTuple):
    """How many readings of a sensor, between which times, a command would delete."""

    sensor: int
    node: str
    name: str
    readings: int
    from_ms: int
    to_ms: int

    @property
    def about_bytes(self) -> int:
        return self.readings * BYTES_PER_READING


def hour_of(at_ms: int) -> int:
    """The start of the clock hour (UTC) that a time is in."""
    return at_ms // HOUR_MS * HOUR_MS


def count_differing_hours(db: Database, since_ms: int | None) -> int:
    """How many hours of ``hourly`` differ from the raw readings, where these are all kept.

    Args:
        db: any connection; nothing is written.
        since_ms: only hours that end after it.
    """
    return sum(1 for _ in differing_hours(db, since_ms))


def differing_hours(
    db: Database, since_ms: int | None, progress: Callable[[int], object] = lambda _: None
) -> Iterator[tuple[int, int]]:
    """Those hours: sensor and hour_ms. ``progress`` is told how many sensors further it is."""
    from_ms = MIN_MS if since_ms is None else hour_of(since_ms)
    for sensor in sensors(db):
        for part in time_ranges(db, sensor, from_ms, MAX_MS, COMPARED_AT_ONCE):
            yield from ((sensor, hour_ms) for hour_ms in differing_in(db, part))
        progress(1)


def differing_in(db: Database, part: TimeRange) -> list[int]:
    """The hours of a time range that differ, without those that were pruned."""
    params = {"sensor": part.sensor, "from_ms": part.from_ms, "to_ms": part.to_ms}
    return [hour_ms for (hour_ms,) in db.execute(_DIFFERING, params).fetchall()]


def rebuild(
    db: Database, since_ms: int | None, progress: Callable[[int], object] = lambda _: None
) -> int:
    """Recompute the hours that differ, while ingest goes on; how many these were.

    Raises:
        sqlite3.Error: it can't be written; hours that were recomputed stay so.
    """
    pacer = ChunkPacer(READINGS)
    from_ms = MIN_MS if since_ms is None else hour_of(since_ms)
    rebuilt = 0
    for sensor in sensors(db):
        for part in time_ranges(db, sensor, from_ms, MAX_MS, COMPARED_AT_ONCE):
            if differing_in(db, part):
                rebuilt += _rebuild(db, part, pacer)
        progress(1)
    return rebuilt


def _rebuild(db: Database, whole: TimeRange, pacer: ChunkPacer) -> int:
    def write() -> int:
        with pacer.transaction(db):
            hours = differing_in(db, part)
            recompute(db, part.sensor, hours)
        return len(hours)

    rebuilt, from_ms = 0, whole.from_ms
    while from_ms < whole.to_ms:
        part = next(time_ranges(db, whole.sensor, from_ms, whole.to_ms, pacer.size))
        rebuilt += pacer.run(write)
        pacer.record(part.size)
        from_ms = part.to_ms
    return rebuilt


def recompute(db: Database, sensor: int, hours: list[int]) -> None:
    """Replace hours by what the raw readings say, within the caller's transaction."""
    for hour_ms in hours:
        params = {"sensor": sensor, "hour_ms": hour_ms}
        db.execute("delete from hours where sensor = :sensor and hour_ms = :hour_ms", params)
        db.execute(_RECOMPUTE, params)


def sensors(db: Database) -> list[int]:
    """All sensors' numbers."""
    return [sensor for (sensor,) in db.execute("select id from sensors order by id").fetchall()]


def time_ranges(
    db: Database, sensor: int, from_ms: int, to_ms: int, size: int
) -> Iterator[TimeRange]:
    """Split a sensor's time into whole hours of about ``size`` readings or rolled-up hours."""
    while from_ms < to_ms:
        end_ms = to_ms
        for table, column in (("readings", "measured_ms"), ("hours", "hour_ms")):
            row = db.execute(
                f"select {column} from {table} where sensor = ? and {column} >= ?"
                f" order by {column} limit 1 offset ?",
                [sensor, from_ms, size],
            ).fetchone()
            if row:
                end_ms = min(end_ms, hour_of(row[0]) + HOUR_MS)
        yield TimeRange(sensor, from_ms, end_ms, size)
        from_ms = end_ms
