"""Find readings from clocks that were ahead, and remove them while ingest goes on."""

from collections.abc import Callable, Collection, Sequence
from functools import partial

from sqlite_utils import Database

from tmon.core import humanize
from tmon.db.chunk_pacer import ChunkPacer, ChunkSizes
from tmon.db.lookup import find_node_uid
from tmon.maintenance.change_log import REMOVED, record_change
from tmon.maintenance.clocks import check_server_clock, plausible_until_ms
from tmon.maintenance.rollup import SensorReadings, hour_of, recompute

READINGS = ChunkSizes(first=500, least=50, most=10_000)

# By the index on time, as usually there is nothing to find.
_AHEAD = """
select id, node, name, found.readings, from_ms, to_ms
from (
    select sensor, count(*) as readings, min(measured_ms) as from_ms, max(measured_ms) as to_ms
    from readings indexed by readings_measured_ms
    where measured_ms > ?
    group by sensor
) as found cross join sensors on sensors.id = found.sensor
order by node, name
"""


def find(db: Database, now_ms: int, sensors: Collection[int] | None = None) -> list[SensorReadings]:
    """Readings more than ten minutes ahead, by sensor: of all sensors, or of some."""
    rows = db.execute(_AHEAD, [plausible_until_ms(now_ms)])
    found = map(SensorReadings._make, rows)
    return [one for one in found if sensors is None or one.sensor in sensors]


def remove(
    db: Database,
    found: Sequence[SensorReadings],
    now_ms: int,
    progress: Callable[[int], object] = lambda _: None,
) -> int:
    """Delete what was found, recompute its hours, and record it in ``changes``.

    This takes many short transactions, each of which leaves the database consistent.

    Returns:
        How many readings were deleted.

    Raises:
        ServerClockOff: it is more likely the server's clock that is behind.
        sqlite3.Error: the database can't be written; what was removed stays so.
    """
    check_server_clock(db, now_ms)
    pacer = ChunkPacer(READINGS)
    total = 0
    for one in found:
        removed = 0
        while count := pacer.run(partial(_remove_some, db, one, removed, now_ms, pacer)):
            pacer.record(count)
            progress(count)
            removed += count
        total += removed
    return total


def _remove_some(
    db: Database, one: SensorReadings, removed: int, now_ms: int, pacer: ChunkPacer
) -> int:
    """One transaction, which deletes the newest of them: how many."""
    with pacer.transaction(db):
        rows = db.execute(
            "select measured_ms from readings where sensor = ? and measured_ms between ? and ?"
            " order by measured_ms desc limit ?",
            [one.sensor, one.from_ms, one.to_ms, pacer.size],
        )
        times = [measured_ms for (measured_ms,) in rows]
        if times:
            db.execute(
                "delete from readings where sensor = ? and measured_ms between ? and ?",
                [one.sensor, times[-1], times[0]],
            )
            recompute(db, one.sensor, sorted({*map(hour_of, times)}))
            # One row for all transactions, true whenever they are stopped.
            db.execute(
                "delete from changes where sensor = ? and what = ? and at_ms = ?",
                [one.sensor, REMOVED, now_ms],
            )
            count = humanize.pluralize(removed + len(times), "reading")
            which = f"{count} from {humanize.instant(one.from_ms)} to {humanize.instant(one.to_ms)}"
            uid = find_node_uid(db, one.node)
            record_change(db, now_ms, REMOVED, uid, one.sensor, which, None)
    return len(times)
