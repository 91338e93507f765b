"""Incidents of a node or a sensor."""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

MAX_SHOWN = 10  # on a page

_COLUMNS = """select incidents.id, finding, severity, incidents.node, subject, reason,
    from_ms, to_ms, sensors.name as sensor
from incidents left join sensors on sensors.id = incidents.sensor"""
_NEWEST = "order by from_ms desc, incidents.id desc limit :most"
_OF_SENSOR = f"{_COLUMNS} where incidents.sensor = :sensor {_NEWEST}"
_OF_NODE = f"""{_COLUMNS}
where incidents.node = :node
    or incidents.sensor in (select id from sensors where sensors.node = :node)
{_NEWEST}"""


def newest_incidents(
    connection: sqlite3.Connection, node: str, sensor: int | None
) -> Sequence[Mapping[str, Any]]:
    """The newest incidents of a node and its sensors, or of one sensor."""
    sql = _OF_NODE if sensor is None else _OF_SENSOR
    rows: Sequence[Mapping[str, Any]] = connection.execute(
        sql, {"node": node, "sensor": sensor, "most": MAX_SHOWN}
    ).fetchall()
    return rows


def table_query(node: str, sensor: int | None) -> str:
    """The query string for the page of the table ``incidents`` that shows all of them."""
    if sensor is not None:
        return urlencode({"sensor": sensor})
    quoted = node.replace("'", "''")
    of_sensors = f"sensor in (select id from sensors where node = '{quoted}')"
    return urlencode({"_where": f"node = '{quoted}' or {of_sensors}"})
