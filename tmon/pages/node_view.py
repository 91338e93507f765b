"""A node's or a sensor's charts, read from the database."""

import sqlite3
from collections.abc import Mapping
from typing import Any, NamedTuple

from tmon.core.languages import gettext
from tmon.pages.charts import ChartView, NotFoundByName, Parameters, load_charts
from tmon.pages.points import Sensor

MAX_SENSORS = 48  # on one page; the tables have them all


class NodeNames(NamedTuple):
    """Whose page an address asks for; ``sensor`` is None for all sensors of the node."""

    node: str
    sensor: str | None


class NodeView(NamedTuple):
    """A node and its charts; ``sensor`` is None on a node's page."""

    node: Mapping[str, Any]
    sensor: Sensor | None
    others: int  # sensors beyond MAX_SENSORS
    charts: ChartView


def load_view(
    names: NodeNames, connection: sqlite3.Connection, parameters: Parameters, at_ms: int
) -> NodeView:
    """Read all that the charts show.

    Raises:
        NotFoundByName: no such node or sensor.
        BadSpan: the span or resolution in the address is not valid.
    """
    node = connection.execute(
        "select name, description, latitude, longitude, last_received_ms from nodes where name = ?",
        [names.node],
    ).fetchone()
    if node is None:
        message = gettext("There is no node called {node}.")
        raise NotFoundByName(message.format(node=names.node))
    rows = connection.execute(
        "select id, name, unit from sensors where node = ? and name = coalesce(?, name)"
        " order by unit is not '°C', name",  # temperatures first
        [*names],
    ).fetchall()
    if names.sensor and not rows:
        message = gettext("The node {node} has no sensor called {sensor}.")
        raise NotFoundByName(message.format(node=names.node, sensor=names.sensor))
    shown = [Sensor(*row) for row in rows[:MAX_SENSORS]]
    charts = load_charts(connection, shown, parameters, at_ms)
    sensor = charts.sensors[0] if names.sensor else None
    return NodeView(node, sensor, len(rows) - len(shown), charts)
