"""``hourly`` compared with the raw readings, and put right."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from sqlite_utils import Database

from tmon.core.errors import TmonError
from tmon.core.time import HOUR_MS
from tmon.db.connect import transaction
from tmon.db.turns import Turns

EVER_MS, NEVER_MS = -(1 << 62), 1 << 62  # before and after any instant
LOOKED_AT = 20_000  # readings and hours at a time: a statement of about 10 ms
PUT_RIGHT_AT_FIRST = 5_000  # readings in a transaction
PUT_RIGHT_AT_LEAST = 500
PUT_RIGHT_AT_MOST = 20_000

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

_REMADE = """
insert into hours (sensor, hour_ms, n, sum, min, max)
select sensor, :hour_ms, count(*), sum(value), min(value), max(value)
from readings
where sensor = :sensor and measured_ms >= :hour_ms and measured_ms < :hour_ms + 3600000
group by sensor
"""


class RollupDiffers(TmonError):
    """``hourly`` does not say what the raw readings say, where it must."""


class Stretch(NamedTuple):
    """Whole hours of one sensor; ``size`` is about how many readings and hours they hold."""

    sensor: int
    from_ms: int
    to_ms: int
    size: int


def hour_of(instant_ms: int) -> int:
    """When the clock hour (UTC) of an instant begins."""
    return instant_ms // HOUR_MS * HOUR_MS


def differences(db: Database, since_ms: int | None) -> int:
    """How many hours of ``hourly`` aren't what the raw readings say, where these are all kept.

    Args:
        db: any connection; nothing is written.
        since_ms: only hours that end after it.
    """
    return sum(1 for _ in differing(db, since_ms))


def differing(
    db: Database, since_ms: int | None, progress: Callable[[int], object] = lambda _: None
) -> Iterator[tuple[int, int]]:
    """Those hours: sensor and hour_ms. ``progress`` is told how many sensors further it is."""
    from_ms = EVER_MS if since_ms is None else hour_of(since_ms)
    for sensor in sensors(db):
        for stretch in stretches(db, sensor, from_ms, NEVER_MS, LOOKED_AT):
            yield from ((sensor, hour_ms) for hour_ms in differing_in(db, stretch))
        progress(1)


def differing_in(db: Database, stretch: Stretch) -> list[int]:
    """The hours of a stretch that differ, without those before the sensor's horizon."""
    asked = {"sensor": stretch.sensor, "from_ms": stretch.from_ms, "to_ms": stretch.to_ms}
    return [hour_ms for (hour_ms,) in db.execute(_DIFFERING, asked).fetchall()]


def rebuild(
    db: Database, since_ms: int | None, progress: Callable[[int], object] = lambda _: None
) -> int:
    """Put right what differs, beside a live ingest; how many hours that were.

    Raises:
        sqlite3.Error: it can't be written; what is put right stays so.
    """
    turns = Turns(
        at_first=PUT_RIGHT_AT_FIRST, at_least=PUT_RIGHT_AT_LEAST, at_most=PUT_RIGHT_AT_MOST
    )
    from_ms = EVER_MS if since_ms is None else hour_of(since_ms)
    put_right = 0
    for sensor in sensors(db):
        for stretch in stretches(db, sensor, from_ms, NEVER_MS, LOOKED_AT):
            if differing_in(db, stretch):
                put_right += _put_right(db, stretch, turns)
        progress(1)
    return put_right


def remake(db: Database, sensor: int, hours: list[int]) -> None:
    """Make hours anew from raw; within a transaction of the caller's."""
    for hour_ms in hours:
        asked = {"sensor": sensor, "hour_ms": hour_ms}
        db.execute("delete from hours where sensor = :sensor and hour_ms = :hour_ms", asked)
        db.execute(_REMADE, asked)


def sensors(db: Database) -> list[int]:
    """All sensors' numbers."""
    return [sensor for (sensor,) in db.execute("select id from sensors order by id").fetchall()]


def stretches(db: Database, sensor: int, from_ms: int, to_ms: int, size: int) -> Iterator[Stretch]:
    """A sensor's time cut into whole hours of about ``size`` readings or rolled-up hours."""
    while from_ms < to_ms:
        end_ms = min(
            to_ms,
            _after(db, "readings", "measured_ms", sensor, from_ms, size),
            _after(db, "hours", "hour_ms", sensor, from_ms, size),
        )
        yield Stretch(sensor, from_ms, end_ms, size)
        from_ms = end_ms


def _after(  # noqa: PLR0913, PLR0917 - of one query
    db: Database, table: str, column: str, sensor: int, from_ms: int, size: int
) -> int:
    """The end of the hour that holds the row ``size`` rows on."""
    row = db.execute(
        f"select {column} from {table} where sensor = ? and {column} >= ?"
        f" order by {column} limit 1 offset ?",
        [sensor, from_ms, size],
    ).fetchone()
    return NEVER_MS if row is None else hour_of(row[0]) + HOUR_MS


def _put_right(db: Database, stretch: Stretch, turns: Turns) -> int:
    def once() -> int:
        with transaction(db):
            turns.lock_taken()
            hours = differing_in(db, part)
            remake(db, part.sensor, hours)
        return len(hours)

    put_right, from_ms = 0, stretch.from_ms
    while from_ms < stretch.to_ms:
        part = next(stretches(db, stretch.sensor, from_ms, stretch.to_ms, turns.size))
        put_right += turns.take(once)
        turns.did(part.size)
        from_ms = part.to_ms
    return put_right
