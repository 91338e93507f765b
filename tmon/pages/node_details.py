"""What a node's or sensor's page shows below its charts, read from the database."""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tmon.pages.charts import Parameters
from tmon.pages.incidents import newest_incidents
from tmon.pages.node_view import NodeNames, NodeView, load_view
from tmon.pages.numbers import Numbers, load_numbers
from tmon.pages.similar import load_similar

MAX_REJECTED = 5


class NodeDetails(NamedTuple):
    """The numbers of each sensor, rejected values and incidents.

    ``similar``: of a sensor's page, the addresses of sensors to compare it with.
    """

    numbers: Numbers
    rejected: Sequence[Mapping[str, Any]]
    incidents: Sequence[Mapping[str, Any]]
    similar: Sequence[str]


def load_details(
    names: NodeNames, connection: sqlite3.Connection, parameters: Parameters, at_ms: int
) -> tuple[NodeView, NodeDetails]:
    """Read all that a page shows, charts and details.

    Raises:
        NotFoundByName, BadSpan: as ``load_view`` does.
    """
    view = load_view(names, connection, parameters, at_ms)
    node = view.node["name"]
    rejected = connection.execute(
        "select received_ms, sensor, value, reason from rejected where node = ?"
        " order by id desc limit ?",
        [node, MAX_REJECTED],
    ).fetchall()
    incidents = newest_incidents(connection, node, view.sensor and view.sensor.id)
    numbers = load_numbers(connection, view.charts, at_ms)
    similar = load_similar(connection, node, view.sensor.id) if view.sensor else ()
    return view, NodeDetails(numbers, rejected, incidents, similar)
