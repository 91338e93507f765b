"""The newest readings, as they are published to Home Assistant."""

from pathlib import Path

from tmon.db.connect import open_for_reading
from tmon.mqtt.home_assistant import Latest

MOST_SENSORS = 10_000  # Home Assistant shows some thousands at most


def read_latest(db: Path, except_uid: str | None = None) -> list[Latest]:
    """The newest reading of each sensor, but for those of one node.

    Raises:
        RefusedDatabase, sqlite3.Error: the database can't be read now.
    """
    reader = open_for_reading(db)
    try:
        rows = reader.execute(
            "select sensor, nodes.uid, node, latest.name, quantity, unit, value, measured_ms,"
            " silent from latest join nodes on nodes.name = node"
            " where nodes.uid is not ? order by sensor limit ?",
            [except_uid, MOST_SENSORS],
        ).fetchall()
    finally:
        reader.close()
    return [Latest(*row) for row in rows]
