"""What was renamed, moved, replaced or removed is written down; by it links and names go on."""

from sqlite_utils import Database

# Ingest goes by the first, pages by all but the last two: `before` leads to the sensor.
RENAMED_NODE = "rename node"
RENAMED, MOVED, MERGED = "rename sensor", "move sensor", "merge sensor"
REPLACED = "replace sensor"
REMOVED = "remove readings"  # no name: nothing goes by it


def record(  # noqa: PLR0913, PLR0917 - the columns
    db: Database,
    now_ms: int,
    what: str,
    node_uid: str,
    sensor: int | None,
    before: str | None,
    after: str | None,
) -> None:
    """Write a change down, within the transaction that makes it.

    Args:
        db: where.
        now_ms: when, Unix milliseconds.
        what: one of those above.
        node_uid: the node it was made on, or from.
        sensor: the sensor, if it is about one.
        before: a node's name, a sensor's label, what the node called it, or which readings.
        after: the same, since.
    """
    db.execute(
        "insert into changes (at_ms, node_uid, sensor, what, before, after)"
        " values (?, ?, ?, ?, ?, ?)",
        [now_ms, node_uid, sensor, what, before, after],
    )
