"""What is wrong, and what was: of a node or a sensor, and how much of it anywhere."""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

SHOWN = 10  # the newest, on a page

_COLUMNS = """select incidents.id, finding, severity, incidents.node, subject, reason,
    from_ms, to_ms, sensors.name as sensor
from incidents left join sensors on sensors.id = incidents.sensor"""
_NEWEST = "order by from_ms desc, incidents.id desc limit :most"
_OF_SENSOR = f"{_COLUMNS} where incidents.sensor = :sensor {_NEWEST}"
_OF_NODE = f"""{_COLUMNS}
where incidents.node = :node
    or incidents.sensor in (select id from sensors where sensors.node = :node)
{_NEWEST}"""


class Open(NamedTuple):
    """How many incidents go on, and how many of them are critical."""

    n: int
    critical: int


def newest(conn: sqlite3.Connection, node: str, sensor: int | None) -> Sequence[Mapping[str, Any]]:
    """A node's incidents, its sensors' among them, or those of one sensor."""
    sql = _OF_NODE if sensor is None else _OF_SENSOR
    found: Sequence[Mapping[str, Any]] = conn.execute(
        sql, {"node": node, "sensor": sensor, "most": SHOWN}
    ).fetchall()
    return found


def going_on(conn: sqlite3.Connection) -> Open:
    """Those that have no end yet, found in their own index."""
    found = conn.execute(
        "select count(*), coalesce(sum(severity = 'critical'), 0) from incidents"
        " where to_ms is null"
    ).fetchone()
    return Open(*found)


def query(node: str, sensor: int | None) -> str:
    """What asks the table ``incidents`` for all that ``newest`` is the beginning of."""
    if sensor is not None:
        return urlencode({"sensor": sensor})
    quoted = node.replace("'", "''")
    of_sensors = f"sensor in (select id from sensors where node = '{quoted}')"
    return urlencode({"_where": f"node = '{quoted}' or {of_sensors}"})
