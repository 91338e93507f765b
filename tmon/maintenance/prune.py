"""``tmon prune``: old raw readings deleted, their hours kept, while ingest goes on."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from sqlite_utils import Database

from tmon.core.errors import TmonError
from tmon.core.time import HOUR_MS
from tmon.db.connect import WritableDatabase, transaction
from tmon.db.turns import Turns
from tmon.maintenance.clocks import check_server_clock, plausible_until_ms
from tmon.maintenance.rollup import (
    EVER_MS,
    RollupDiffers,
    Stretch,
    differing_in,
    hour_of,
    stretches,
)
from tmon.store.hours import close_hours_of

KEPT_AT_LEAST_S = 2 * 86_400  # ingest trusts that a reading of its last day is never pruned
READINGS_AT_FIRST = 1_000
READINGS_AT_LEAST = 100
READINGS_AT_MOST = 20_000
PAGES_AT_FIRST = 100  # given back in a turn
PAGES_AT_LEAST = 10
PAGES_AT_MOST = 2_000
BYTES_A_READING = 41  # with the index on time, see docs/decisions/0006
VERIFIED = 20_000  # readings looked at in one statement, before any is deleted

# Hours that a correction begins or ends within: what they say then is computed from raw.
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


class Old(NamedTuple):
    """What would go of a sensor: ``readings`` before ``to_ms``, the horizon then."""

    sensor: int
    node: str
    name: str
    readings: int
    from_ms: int
    to_ms: int

    @property
    def about_bytes(self) -> int:
        return self.readings * BYTES_A_READING


def plan(
    db: Database,
    older_than_s: int,
    now_ms: int,
    sensors: Sequence[int] | None = None,
    progress: Callable[[int], object] = lambda _: None,
) -> list[Old]:
    """What there is to prune, of all sensors or of some; nothing is changed.

    The hour of a sensor's newest reading always stays, and that of the newest that no flag covers.

    Raises:
        TooYoung: less than two days would be kept.
        ServerClockOff: what is old can't be told, as most nodes say that it is another time.
    """
    if older_than_s < KEPT_AT_LEAST_S:
        raise TooYoung(
            "readings of the last two days can't be pruned: --raw-older-than 2d or longer"
        )
    check_server_clock(db, now_ms)
    before_ms = hour_of(now_ms - older_than_s * 1000)
    found = []
    for sensor, node, name in db.execute(
        "select id, node, name from sensors order by node, name"
    ).fetchall():
        if sensors is None or sensor in sensors:
            old = _old(db, sensor, before_ms, plausible_until_ms(now_ms))
            found += [Old(sensor, node, name, *old)] if old else []
        progress(1)
    return found


def verify(
    db: Database, olds: Sequence[Old], progress: Callable[[int], object] = lambda _: None
) -> None:
    """Look whether ``hourly`` has all that would go; nothing is changed.

    Raises:
        RollupDiffers: it hasn't.
    """
    for old in olds:
        for stretch in stretches(db, old.sensor, EVER_MS, old.to_ms, VERIFIED):
            _check(db, stretch)
        progress(1)


def prune(
    db: Database, olds: Sequence[Old], progress: Callable[[int], object] = lambda _: None
) -> int:
    """Delete what was planned, and return how many readings that were.

    A transaction moves a sensor's horizon, up to which ingest refuses readings from then on,
    and deletes what is before it. So whenever this is killed, all is consistent, and again it
    goes on.

    Raises:
        RollupDiffers: ``hourly`` was changed meanwhile; nothing of that stretch was deleted.
        sqlite3.Error: the database can't be written; what was pruned stays so.
    """
    _spare_the_disk(db)
    turns = Turns(at_first=READINGS_AT_FIRST, at_least=READINGS_AT_LEAST, at_most=READINGS_AT_MOST)
    deleted = 0
    for old in olds:
        for count in _prune(db, old, turns):
            deleted += count
            progress(count)
    return deleted


def give_back(db: WritableDatabase, progress: Callable[[int], object] = lambda _: None) -> int:
    """Return the file's free pages to the system; how many there were.

    Raises:
        sqlite3.Error: the database can't be written.
    """
    _spare_the_disk(db)
    turns = Turns(at_first=PAGES_AT_FIRST, at_least=PAGES_AT_LEAST, at_most=PAGES_AT_MOST)
    returned = 0
    while free := free_pages(db):
        turns.take(lambda: _give_back_some(db, turns))
        count = free - free_pages(db)
        if count <= 0:
            break  # others fill them again, or the file was made without auto_vacuum
        turns.did(count)
        returned += count
        progress(count)
    db.checkpoint()  # then the file is as short as it can be
    return returned


def free_pages(db: Database) -> int:
    """The file's pages that hold nothing."""
    return int(db.execute("pragma freelist_count").fetchone()[0])


def _spare_the_disk(db: Database) -> None:
    """Never wait for it with the lock held; what goes with the power is pruned again."""
    db.execute("pragma synchronous = normal")


def _old(db: Database, sensor: int, before_ms: int, until_ms: int) -> tuple[int, int, int] | None:
    """How many readings would go, the first's hour, and the horizon then."""
    ends = db.execute(_ENDS, {"sensor": sensor, "until_ms": until_ms})
    first_ms, newest_ms = ends.fetchone()
    if newest_ms is None:
        return None
    to_ms = min(before_ms, hour_of(newest_ms))
    asked = {"sensor": sensor, "from_ms": first_ms, "to_ms": to_ms}
    readings = db.execute(f"select count(*) {_OLD}", asked).fetchone()[0]
    return (readings, hour_of(first_ms), to_ms) if readings else None


def _check(db: Database, stretch: Stretch) -> None:
    hours = differing_in(db, stretch)
    if hours:
        query = "select label from sensors where id = ?"
        label = db.execute(query, [stretch.sensor]).fetchone()[0]
        raise RollupDiffers(
            f"the hours of {label} are not what its readings say; nothing of them was deleted: "
            "`tmon rollup --rebuild` puts that right"
        )


def _prune(db: Database, old: Old, turns: Turns) -> Iterator[int]:
    from_ms = old.from_ms
    while from_ms < old.to_ms:
        end_ms = _end(db, old, from_ms, turns.size)
        stretch = Stretch(old.sensor, from_ms, end_ms, turns.size)
        count = turns.take(partial(_prune_some, db, stretch, turns))
        turns.did(turns.size)
        yield count
        from_ms = end_ms


def _end(db: Database, old: Old, from_ms: int, size: int) -> int:
    """The instant that ``size`` readings lie before; more than those are not deleted at once."""
    query = """select measured_ms from readings where sensor = ? and measured_ms >= ?
        and measured_ms < ? order by measured_ms limit 1 offset ?"""
    row = db.execute(query, [old.sensor, from_ms, old.to_ms, size]).fetchone()
    return old.to_ms if row is None else int(row[0])


def _prune_some(db: Database, stretch: Stretch, turns: Turns) -> int:
    """One transaction. An hour too long for it goes in several, behind the horizon."""
    horizon_ms = -(-stretch.to_ms // HOUR_MS) * HOUR_MS
    with transaction(db):
        turns.lock_taken()
        whole = stretch._replace(from_ms=hour_of(stretch.from_ms), to_ms=horizon_ms)
        close_hours_of(db, whole.sensor, whole.from_ms, whole.to_ms)
        _check(db, whole)
        db.execute(
            "update sensors set pruned_before_ms = ?"
            " where id = ? and coalesce(pruned_before_ms, ?) < ?",
            [horizon_ms, stretch.sensor, EVER_MS, horizon_ms],
        )
        asked = {"sensor": stretch.sensor, "from_ms": stretch.from_ms, "to_ms": stretch.to_ms}
        return int(db.execute(f"delete {_OLD}", asked).rowcount)


def _give_back_some(db: Database, turns: Turns) -> None:
    with transaction(db):
        turns.lock_taken()
        db.execute(f"pragma incremental_vacuum({turns.size})").fetchall()
