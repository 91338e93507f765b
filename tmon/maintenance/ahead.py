"""Readings from clocks that were ahead: found, and removed while ingest goes on."""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import NamedTuple

from sqlite_utils import Database

from tmon.core import humanize
from tmon.db.connect import transaction
from tmon.db.lookup import find_node
from tmon.db.turns import Turns
from tmon.maintenance.changes import REMOVED, record
from tmon.maintenance.clocks import check_server_clock, plausible_until_ms
from tmon.maintenance.rollup import hour_of, remake

READINGS_AT_FIRST = 500
READINGS_AT_LEAST = 50
READINGS_AT_MOST = 10_000

# By the index on time: as a rule there is nothing to find.
_FOUND = """
select id, node, name, found.readings, from_ms, to_ms
from (
    select sensor, count(*) as readings, min(measured_ms) as from_ms, max(measured_ms) as to_ms
    from readings indexed by readings_measured_ms
    where measured_ms > ?
    group by sensor
) as found cross join sensors on sensors.id = found.sensor
order by node, name
"""


class Ahead(NamedTuple):
    """A sensor's readings that are ahead: how many, and from when to when."""

    sensor: int
    node: str
    name: str
    readings: int
    from_ms: int
    to_ms: int


def find(db: Database, now_ms: int, sensors: Collection[int] | None = None) -> list[Ahead]:
    """Readings more than ten minutes ahead, by sensor: of all, or of some."""
    rows = db.execute(_FOUND, [plausible_until_ms(now_ms)])
    return [one for one in map(Ahead._make, rows) if sensors is None or one.sensor in sensors]


def remove(
    db: Database,
    found: Sequence[Ahead],
    now_ms: int,
    progress: Callable[[int], object] = lambda _: None,
) -> int:
    """Delete what was found, put its hours right, and write it down in ``changes``.

    It goes in short transactions, each of which leaves all consistent.

    Returns:
        How many readings that were.

    Raises:
        ServerClockOff: it is more likely the server's clock that is behind.
        sqlite3.Error: the database can't be written; what was removed stays so.
    """
    check_server_clock(db, now_ms)
    turns = Turns(at_first=READINGS_AT_FIRST, at_least=READINGS_AT_LEAST, at_most=READINGS_AT_MOST)
    return sum(_remove(db, one, now_ms, turns, progress) for one in found)


def _remove(
    db: Database, one: Ahead, now_ms: int, turns: Turns, progress: Callable[[int], object]
) -> int:
    removed = 0
    while count := turns.take(partial(_remove_some, db, one, removed, now_ms, turns)):
        turns.did(count)
        progress(count)
        removed += count
    return removed


def _remove_some(db: Database, one: Ahead, removed: int, now_ms: int, turns: Turns) -> int:
    """One transaction: the newest of them; how many."""
    with transaction(db):
        turns.lock_taken()
        rows = db.execute(
            "select measured_ms from readings where sensor = ? and measured_ms between ? and ?"
            " order by measured_ms desc limit ?",
            [one.sensor, one.from_ms, one.to_ms, turns.size],
        )
        instants = [measured_ms for (measured_ms,) in rows]
        if instants:
            db.execute(
                "delete from readings where sensor = ? and measured_ms between ? and ?",
                [one.sensor, instants[-1], instants[0]],
            )
            remake(db, one.sensor, sorted({*map(hour_of, instants)}))
            _write_down(db, one, removed + len(instants), now_ms)
    return len(instants)


def _write_down(db: Database, one: Ahead, removed: int, now_ms: int) -> None:
    """One row for all of it, true whenever it is stopped."""
    db.execute(
        "delete from changes where sensor = ? and what = ? and at_ms = ?",
        [one.sensor, REMOVED, now_ms],
    )
    readings = humanize.pluralize(removed, "reading")
    told = f"{readings} from {humanize.instant(one.from_ms)} to {humanize.instant(one.to_ms)}"
    record(db, now_ms, REMOVED, find_node(db, one.node), one.sensor, told, None)
