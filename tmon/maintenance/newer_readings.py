"""Which readings a restore would take out of the database, as the backup lacks them."""

from pathlib import Path

from tmon.core import humanize
from tmon.db.connect import sqlite3
from tmon.maintenance import snapshot

MOST_NODES_SHOWN = 5

# Of the database that is about to be replaced, beside the attached backup.
NEWER_READINGS = """
    with newest (uid, measured_ms) as (
        select uid, max((select max(measured_ms) from backup.readings where sensor = sensors.id))
        from backup.nodes join backup.sensors on sensors.node = nodes.name
        group by uid
    )
    select nodes.name, sum((
        select count(*) from readings
        where sensor = sensors.id and readings.measured_ms > ifnull(newest.measured_ms, -1e15)
    )) as newer
    from nodes join sensors on sensors.node = nodes.name left join newest using (uid)
    group by nodes.name having newer > 0
    order by newer desc, nodes.name
"""


def newer_readings(present: sqlite3.Connection, draft: Path) -> list[str]:
    """How many readings of each node are newer than its newest in the draft: ``attic: 20``."""
    try:
        present.execute("attach ? as backup", [f"{draft.absolute().as_uri()}?mode=ro&immutable=1"])
        counts = present.execute(NEWER_READINGS).fetchall()
    except snapshot.UNREADABLE as error:
        return [f"not known, as the database can't be read: {humanize.printable(str(error))}"]
    shown = [f"{node}: {count:,}" for node, count in counts[:MOST_NODES_SHOWN]]
    if more := counts[MOST_NODES_SHOWN:]:
        shown.append(f"and {len(more)} more nodes: {sum(count for _, count in more):,}")
    return shown
