"""What a node's or a sensor's page tells beside its charts, read from the file."""

import math
import sqlite3
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median_low
from typing import Any, NamedTuple

from tmon.pages import incidents
from tmon.pages.points import Line, Resolution, Sensor, Summary, for_a_table, line, summary
from tmon.pages.station import NOT_AHEAD
from tmon.pages.view import MOST_LINES, Asked, View, look

REJECTED_SHOWN = 5
USUAL_OF = 50  # readings, as in the view `latest`


class Row(NamedTuple):
    """A sensor in numbers: its newest reading, and its span; ``coverage`` is of 1."""

    sensor: Sensor
    now: Mapping[str, Any] | None
    summary: Summary
    coverage: float | None


class Details(NamedTuple):
    """Numbers, the chart as a table, what was refused, and what was wrong."""

    rows: Sequence[Row]
    table: Resolution
    in_table: Sequence[tuple[int, Sequence[tuple[float, ...] | None]]]  # a sensor's in its column
    rejected: Sequence[Mapping[str, Any]]
    incidents: Sequence[Mapping[str, Any]]


def look_closely(conn: sqlite3.Connection, asked: Asked, at_ms: int) -> tuple[View, Details]:
    """Read all that a page shows.

    Raises:
        Unknown, NoSuchSpan: as ``look`` does.
    """
    view = look(conn, asked, at_ms)
    node = view.node["name"]
    newest = _newest(conn, view)
    rows = [_row(conn, view, sensor, newest.get(sensor.id), at_ms) for sensor in view.sensors]
    table = for_a_table(view.span)
    lines = [line(conn, sensor, view.span, table) for sensor in view.sensors[:MOST_LINES]]
    wrong = incidents.newest(conn, node, view.sensor and view.sensor.id)
    return view, Details(rows, table, _side_by_side(lines), _rejected(conn, node), wrong)


def _newest(conn: sqlite3.Connection, view: View) -> dict[int, Mapping[str, Any]]:
    found = conn.execute(
        f"select sensor, measured_ms, value, age_s, silent from {view.latest} where node = ?",
        [view.node["name"]],
    )
    return {row["sensor"]: row for row in found}


def _rejected(conn: sqlite3.Connection, node: str) -> list[Mapping[str, Any]]:
    return conn.execute(
        "select received_ms, sensor, value, reason from rejected where node = ?"
        " order by id desc limit ?",
        [node, REJECTED_SHOWN],
    ).fetchall()


def _side_by_side(
    lines: Sequence[Line],
) -> list[tuple[int, Sequence[tuple[float, ...] | None]]]:
    """The points of several lines by their times, newest first."""
    by_time = [{int(point[0]): point for point in one.points} for one in lines]
    times = sorted({time for own in by_time for time in own}, reverse=True)
    return [(time, [own.get(time) for own in by_time]) for time in times]


def _row(
    conn: sqlite3.Connection,
    view: View,
    sensor: Sensor,
    newest: Mapping[str, Any] | None,
    at_ms: int,
) -> Row:
    told = summary(conn, sensor, view.span)
    return Row(sensor, newest, told, _coverage(conn, view, sensor, told.n, at_ms))


def _coverage(
    conn: sqlite3.Connection, view: View, sensor: Sensor, there: int, at_ms: int
) -> float | None:
    """How many readings there are of those that its usual rhythm would give."""
    sql = f"""select measured_ms from readings where sensor = ? and {NOT_AHEAD}
        order by measured_ms desc limit ?"""
    instants = [row[0] for row in conn.execute(sql, [sensor.id, USUAL_OF])]
    if len(instants) < 2:
        return None
    usual_ms = median_low([late - early for late, early in pairwise(instants)])
    first_ms = max(view.span.start_ms, view.pasts[sensor.id].first_ms or 0)
    expected = math.floor((min(view.span.end_ms, at_ms) - first_ms) / max(usual_ms, 1))
    return min(1.0, there / expected) if expected > 0 else None
