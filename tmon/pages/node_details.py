"""What a node's or sensor's page shows below its charts, read from the database."""

import math
import sqlite3
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median_low
from typing import Any, NamedTuple

from tmon.pages.incidents import newest_incidents
from tmon.pages.node_view import MAX_LINES, NodeQuery, NodeView, load_view
from tmon.pages.points import (
    Resolution,
    Sensor,
    Summary,
    load_line,
    load_summary,
    table_resolution,
)
from tmon.pages.queries import NOT_AHEAD

MAX_REJECTED = 5
INTERVALS_FROM = 50  # of the newest readings; the view `latest` takes as many


class SensorRow(NamedTuple):
    """A sensor's newest reading and its numbers in the span; ``coverage`` is from 0 to 1."""

    sensor: Sensor
    now: Mapping[str, Any] | None
    summary: Summary
    coverage: float | None


class NodeDetails(NamedTuple):
    """The numbers of each sensor, the chart as a table, rejected values and incidents."""

    rows: Sequence[SensorRow]
    resolution: Resolution  # of the table
    table: Sequence[tuple[int, Sequence[tuple[float, ...] | None]]]  # time, a point per sensor
    rejected: Sequence[Mapping[str, Any]]
    incidents: Sequence[Mapping[str, Any]]


def load_details(
    connection: sqlite3.Connection, query: NodeQuery, at_ms: int
) -> tuple[NodeView, NodeDetails]:
    """Read all that a page shows, charts and details.

    Raises:
        NotFoundByName, BadSpan: as ``load_view`` does.
    """
    view = load_view(connection, query, at_ms)
    node = view.node["name"]
    latest = connection.execute(
        f"select sensor, measured_ms, value, age_s, silent from {view.latest} where node = ?",
        [node],
    )
    newest = {row["sensor"]: row for row in latest}
    rows = []
    for sensor in view.sensors:
        summary = load_summary(connection, sensor, view.span)
        coverage = _coverage(connection, view, sensor, summary.n, at_ms)
        rows.append(SensorRow(sensor, newest.get(sensor.id), summary, coverage))
    rejected = connection.execute(
        "select received_ms, sensor, value, reason from rejected where node = ?"
        " order by id desc limit ?",
        [node, MAX_REJECTED],
    ).fetchall()
    incidents = newest_incidents(connection, node, view.sensor and view.sensor.id)
    return view, NodeDetails(rows, *_load_table(connection, view), rejected, incidents)


def _load_table(
    connection: sqlite3.Connection, view: NodeView
) -> tuple[Resolution, list[tuple[int, Sequence[tuple[float, ...] | None]]]]:
    """The points of the first sensors side by side, newest first."""
    resolution = table_resolution(view.span)
    lines = [
        load_line(connection, sensor, view.span, resolution) for sensor in view.sensors[:MAX_LINES]
    ]
    by_time = [{int(point[0]): point for point in line.points} for line in lines]
    times = sorted({time for points in by_time for time in points}, reverse=True)
    return resolution, [(time, [points.get(time) for points in by_time]) for time in times]


def _coverage(
    connection: sqlite3.Connection, view: NodeView, sensor: Sensor, count: int, at_ms: int
) -> float | None:
    """The number of readings in relation to what the sensor's usual interval would give."""
    sql = f"""select measured_ms from readings where sensor = ? and {NOT_AHEAD}
        order by measured_ms desc limit ?"""
    newest = [row[0] for row in connection.execute(sql, [sensor.id, INTERVALS_FROM])]
    if len(newest) < 2:
        return None
    interval_ms = median_low([late - early for late, early in pairwise(newest)])
    first_ms = max(view.span.start_ms, view.ranges[sensor.id].first_ms or 0)
    expected = math.floor((min(view.span.end_ms, at_ms) - first_ms) / max(interval_ms, 1))
    return min(1.0, count / expected) if expected > 0 else None
