"""The table ``changes``: what was renamed, moved, replaced or removed.

Ingest and the pages find renamed nodes and sensors by it.
"""

from sqlite_utils import Database

# Ingest uses the first to find nodes, pages all but the last two: `before` leads to the sensor.
RENAMED_NODE = "rename node"
RENAMED, MOVED, MERGED = "rename sensor", "move sensor", "merge sensor"
REPLACED = "replace sensor"
REMOVED = "remove readings"  # only for people: `before` is no name


def record_change(  # noqa: PLR0913, PLR0917 - the columns
    db: Database,
    now_ms: int,
    what: str,
    node_uid: str,
    sensor: int | None,
    before: str | None,
    after: str | None,
) -> None:
    """Insert a change, within the transaction that makes it.

    Args:
        db: the database.
        now_ms: when, Unix milliseconds.
        what: one of the constants above.
        node_uid: the node that was changed, or that the sensor belonged to.
        sensor: the sensor, if one was changed.
        before: the node's name, the sensor's label, its wire name, or which readings.
        after: the same, after the change.
    """
    db.execute(
        "insert into changes (at_ms, node_uid, sensor, what, before, after)"
        " values (?, ?, ?, ?, ?, ?)",
        [now_ms, node_uid, sensor, what, before, after],
    )
