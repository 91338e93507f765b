"""`tmon prune`: delete old raw readings and keep their hours, while ingest goes on."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from sqlite_utils import Database

from tmon.core.errors import TmonError
from tmon.core.time import HOUR_MS
from tmon.db.chunk_pacer import ChunkPacer, ChunkSizes
from tmon.db.connect import WritableDatabase, pragma
from tmon.maintenance.clocks import check_server_clock, plausible_until_ms
from tmon.maintenance.rollup import (
    MIN_MS,
    RollupDiffers,
    SensorReadings,
    TimeRange,
    differing_in,
    hour_of,
    time_ranges,
)
from tmon.store.hours import close_hours_of

KEPT_AT_LEAST_S = 2 * 86_400  # ingest relies on it that the last day's readings are never pruned
READINGS = ChunkSizes(first=1_000, least=100, most=20_000)
PAGES = ChunkSizes(first=100, least=10, most=2_000)  # that are released in a transaction
VERIFIED_AT_ONCE = 20_000  # readings, before any is deleted

# Hours that a correction begins or ends within: their corrected values need the raw readings.
_CUT = """
select from_ms - ((from_ms % 3600000) + 3600000) % 3600000 from calibrations
where sensor = :sensor and from_ms % 3600000 <> 0
union all
select from_ms - ((from_ms % 3600000) + 3600000) % 3600000 from flags
where sensor = :sensor and from_ms % 3600000 <> 0
union all
select to_ms - ((to_ms % 3600000) + 3600000) % 3600000 from flags
where sensor = :sensor and to_ms % 3600000 <> 0
"""

_OLD = f"""
from readings
where sensor = :sensor and measured_ms >= :from_ms and measured_ms < :to_ms
    and measured_ms - ((measured_ms % 3600000) + 3600000) % 3600000 not in ({_CUT})
"""

_ENDS = """
select
    (select measured_ms from readings where sensor = :sensor order by measured_ms limit 1),
    coalesce(
        (select measured_ms from readings_clean where sensor = :sensor
         and measured_ms <= :until_ms order by measured_ms desc limit 1),
        (select measured_ms from readings where sensor = :sensor
         and measured_ms <= :until_ms order by measured_ms desc limit 1)
    )
"""


class TooYoung(TmonError):
    """Readings of the last two days are never pruned."""


def plan(
    db: Database,
    older_than_s: int,
    now_ms: int,
    sensors: Sequence[int] | None = None,
    progress: Callable[[int], object] = lambda _: None,
) -> list[SensorReadings]:
    """What there is to prune, of all sensors or of some; nothing is changed.

    ``to_ms`` of each is the sensor's horizon once it is pruned.
    The hour of a sensor's newest reading always stays, and that of the newest that no flag covers.

    Raises:
        TooYoung: less than two days would be kept.
        ServerClockOff: most nodes disagree with the server's clock, so "old" means nothing.
    """
    if older_than_s < KEPT_AT_LEAST_S:
        raise TooYoung(
            "readings of the last two days can't be pruned: --raw-older-than 2d or longer"
        )
    check_server_clock(db, now_ms)
    before_ms, until_ms = hour_of(now_ms - older_than_s * 1000), plausible_until_ms(now_ms)
    plans = []
    query = "select id, node, name from sensors order by node, name"
    for sensor, node, name in db.execute(query).fetchall():
        if sensors is None or sensor in sensors:
            ends = db.execute(_ENDS, {"sensor": sensor, "until_ms": until_ms})
            first_ms, newest_ms = ends.fetchone()
            if newest_ms is not None:
                to_ms = min(before_ms, hour_of(newest_ms))
                params = {"sensor": sensor, "from_ms": first_ms, "to_ms": to_ms}
                if count := db.execute(f"select count(*) {_OLD}", params).fetchone()[0]:
                    plans.append(
                        SensorReadings(sensor, node, name, count, hour_of(first_ms), to_ms)
                    )
        progress(1)
    return plans


def verify(
    db: Database,
    plans: Sequence[SensorReadings],
    progress: Callable[[int], object] = lambda _: None,
) -> None:
    """Check that ``hourly`` has all that would be deleted; nothing is changed.

    Raises:
        RollupDiffers: it hasn't.
    """
    for one in plans:
        for part in time_ranges(db, one.sensor, MIN_MS, one.to_ms, VERIFIED_AT_ONCE):
            _check_hours(db, part)
        progress(1)


def prune(
    db: Database,
    plans: Sequence[SensorReadings],
    progress: Callable[[int], object] = lambda _: None,
) -> int:
    """Delete what was planned, and return how many readings that were.

    Each transaction raises a sensor's horizon, before which ingest rejects readings from then on,
    and deletes what is before it. So a kill at any time leaves all consistent, and the next run
    continues.

    Raises:
        RollupDiffers: ``hourly`` was changed meanwhile; nothing of that hour was deleted.
        sqlite3.Error: the database can't be written; what was pruned stays so.
    """
    _skip_fsync(db)
    pacer = ChunkPacer(READINGS)
    deleted = 0
    for one in plans:
        for count in _prune(db, one, pacer):
            deleted += count
            progress(count)
    return deleted


def release_free_pages(
    db: WritableDatabase, progress: Callable[[int], object] = lambda _: None
) -> int:
    """Return the file's free pages to the file system; how many these were.

    Raises:
        sqlite3.Error: the database can't be written.
    """

    def write() -> None:
        with pacer.transaction(db):
            db.execute(f"pragma incremental_vacuum({pacer.size})").fetchall()

    _skip_fsync(db)
    pacer = ChunkPacer(PAGES)
    released = 0
    while free := free_pages(db):
        pacer.run(write)
        count = free - free_pages(db)
        if count <= 0:
            break  # others fill them again, or the file was made without auto_vacuum
        pacer.record(count)
        released += count
        progress(count)
    db.checkpoint()  # which shortens the file
    return released


def free_pages(db: Database) -> int:
    """How many pages of the file are unused."""
    return pragma(db, "freelist_count")


def _skip_fsync(db: Database) -> None:
    """Don't wait for the disk while holding the lock: after a power cut, prune again."""
    db.execute("pragma synchronous = normal")


def _check_hours(db: Database, part: TimeRange) -> None:
    if differing_in(db, part):
        query = "select label from sensors where id = ?"
        label = db.execute(query, [part.sensor]).fetchone()[0]
        raise RollupDiffers(
            f"the hours of {label} are not what its readings say; nothing of them was deleted: "
            "`tmon rollup --rebuild` puts that right"
        )


def _prune(db: Database, one: SensorReadings, pacer: ChunkPacer) -> Iterator[int]:
    """Prune one sensor; yields how many readings each transaction deleted."""
    query = """select measured_ms from readings where sensor = ? and measured_ms >= ?
        and measured_ms < ? order by measured_ms limit 1 offset ?"""
    from_ms = one.from_ms
    while from_ms < one.to_ms:
        row = db.execute(query, [one.sensor, from_ms, one.to_ms, pacer.size]).fetchone()
        end_ms = one.to_ms if row is None else int(row[0])
        part = TimeRange(one.sensor, from_ms, end_ms, pacer.size)
        count = pacer.run(partial(_prune_part, db, part, pacer))
        pacer.record(pacer.size)
        yield count
        from_ms = end_ms


def _prune_part(db: Database, part: TimeRange, pacer: ChunkPacer) -> int:
    """One transaction. An hour too long for one is deleted in several, behind the horizon."""
    horizon_ms = -(-part.to_ms // HOUR_MS) * HOUR_MS
    with pacer.transaction(db):
        whole = part._replace(from_ms=hour_of(part.from_ms), to_ms=horizon_ms)
        close_hours_of(db, whole.sensor, whole.from_ms, whole.to_ms)
        _check_hours(db, whole)
        db.execute(
            "update sensors set pruned_before_ms = ?"
            " where id = ? and coalesce(pruned_before_ms, ?) < ?",
            [horizon_ms, part.sensor, MIN_MS, horizon_ms],
        )
        params = {"sensor": part.sensor, "from_ms": part.from_ms, "to_ms": part.to_ms}
        return int(db.execute(f"delete {_OLD}", params).rowcount)
