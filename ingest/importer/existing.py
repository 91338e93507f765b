"""What a database has already of the readings that are to come."""

from collections.abc import Mapping
from pathlib import Path

from sqlite_utils import Database

from ingest.schema import open_for_reading

Readings = Mapping[tuple[str, str, int], float]  # by node, sensor and time


def conflicts(path: Path, readings: Readings) -> int:
    """How many of the readings have another value in the database at ``path``, if there is one."""
    if not path.exists():
        return 0
    with open_for_reading(path) as db:
        if "sensor_names" not in db.table_names():
            return 0
        sensors = {key: _sensor(db, *key) for key in {(node, name) for node, name, _ in readings}}
        return sum(
            _value(db, sensors[node, name], measured_ms) not in {None, value}
            for (node, name, measured_ms), value in readings.items()
        )


def _sensor(db: Database, node: str, wire_name: str) -> int | None:
    query = """select sensor from sensor_names join nodes on nodes.uid = node_uid
        where nodes.name = ? and wire_name = ?"""
    row = db.execute(query, [node, wire_name]).fetchone()
    return int(row[0]) if row else None


def _value(db: Database, sensor: int | None, measured_ms: int) -> float | None:
    query = "select value from readings where sensor = ? and measured_ms = ?"
    row = db.execute(query, [sensor, measured_ms]).fetchone()
    return float(row[0]) if row else None
