"""All that a node's or a sensor's page shows, read from the file."""

import math
import sqlite3
from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from statistics import median_low
from typing import Any, NamedTuple

from tmon_pages.points import (
    RAW,
    RESOLUTIONS,
    Line,
    Resolution,
    Sensor,
    Summary,
    first_ms,
    for_a_table,
    line,
    pruned_in,
    resolution_for,
    summary,
)
from tmon_pages.spans import NoSuchSpan, Past, Span, span_of

MOST_SENSORS = 48  # on one page; tables have them all
MOST_LINES = 8  # in one chart: so many colours can be told apart
REJECTED_SHOWN = 5
USUAL_OF = 50  # readings, as in the view `latest`


class Unknown(Exception):
    """There is no such node or sensor; the message is for its visitor."""


class Asked(NamedTuple):
    """What an address asks for; ``sensor`` is None for all of the node's."""

    node: str
    sensor: str | None
    args: Mapping[str, str]


class Row(NamedTuple):
    """A sensor in numbers: its newest reading, and its span; ``coverage`` is of 1."""

    sensor: Sensor
    now: Mapping[str, Any] | None
    summary: Summary
    coverage: float | None


class View(NamedTuple):
    """All that a page shows."""

    node: Mapping[str, Any]
    sensor: Sensor | None
    others: int  # sensors beyond those shown
    past: Past
    span: Span
    resolution: Resolution
    pruned: bool  # of a time in the span only the hours are kept
    charts: Sequence[Sequence[Line]]
    rows: Sequence[Row]
    table: Resolution
    in_table: Sequence[tuple[int, Sequence[tuple[float, ...] | None]]]  # a sensor's in its column
    rejected: Sequence[Mapping[str, Any]]


def look(conn: sqlite3.Connection, asked: Asked, at_ms: int) -> View:
    """Read all that a page shows.

    Raises:
        Unknown: no such node or sensor.
        NoSuchSpan: the address tells no span of time, or no resolution.
    """
    node = conn.execute(
        "select name, description, latitude, longitude, last_received_ms from nodes where name = ?",
        [asked.node],
    ).fetchone()
    if node is None:
        raise Unknown(f"There is no node called {asked.node}.")
    sensors, others = _sensors(conn, asked)
    past = _past(conn, sensors)
    span = span_of(asked.args, past, at_ms)
    groups = _groups(sensors)
    finest = _finest(asked.args)
    coarsest = max(
        (resolution_for(conn, group, span, finest) for group in groups),
        key=RESOLUTIONS.index,
        default=finest,
    )
    charts = [[line(conn, sensor, span, coarsest) for sensor in group] for group in groups]
    newest = _newest(conn, node["name"])
    rows = [_row(conn, sensor, span, newest.get(sensor.id), at_ms) for sensor in sensors]
    rejected = conn.execute(
        "select received_ms, sensor, value, reason from rejected where node = ?"
        " order by id desc limit ?",
        [node["name"], REJECTED_SHOWN],
    ).fetchall()
    one = sensors[0] if asked.sensor else None
    table = for_a_table(span)
    in_table = _side_by_side([line(conn, sensor, span, table) for sensor in sensors[:MOST_LINES]])
    pruned = any(pruned_in(conn, sensor, span) for sensor in sensors)
    return View(
        *(node, one, others, past, span, coarsest, pruned),
        *(charts, rows, table, in_table, rejected),
    )


def _side_by_side(
    lines: Sequence[Line],
) -> list[tuple[int, Sequence[tuple[float, ...] | None]]]:
    """The points of several lines by their times, newest first."""
    by_time = [{int(point[0]): point for point in one.points} for one in lines]
    times = sorted({time for own in by_time for time in own}, reverse=True)
    return [(time, [own.get(time) for own in by_time]) for time in times]


def _sensors(conn: sqlite3.Connection, asked: Asked) -> tuple[list[Sensor], int]:
    """Those that are shown, those of a unit beside each other; and how many more there are."""
    found = conn.execute(
        "select id, name, unit from sensors where node = ? and name = coalesce(?, name)"
        " order by unit is not '°C', name",  # what most came to see stands first
        [asked.node, asked.sensor],
    ).fetchall()
    if asked.sensor and not found:
        raise Unknown(f"The node {asked.node} has no sensor called {asked.sensor}.")
    shown = [Sensor(*row) for row in found[:MOST_SENSORS]]
    units = {sensor.unit: place for place, sensor in reversed([*enumerate(shown)])}
    return sorted(shown, key=lambda sensor: units[sensor.unit]), len(found) - len(shown)


def _groups(sensors: Sequence[Sensor]) -> list[list[Sensor]]:
    """A chart's sensors together: of one unit, and no more than there are colours."""
    by_unit = [[*group] for _, group in groupby(sensors, key=lambda sensor: sensor.unit)]
    return [
        group[first : first + MOST_LINES]
        for group in by_unit
        for first in range(0, len(group), MOST_LINES)
    ]


def _past(conn: sqlite3.Connection, sensors: Sequence[Sensor]) -> Past:
    sql = "select max(measured_ms) from readings where sensor = ?"
    last = [conn.execute(sql, [sensor.id]).fetchone()[0] for sensor in sensors]
    first = [first_ms(conn, sensor) for sensor in sensors]
    return Past(
        min((at for at in first if at is not None), default=None),
        max((at for at in last if at is not None), default=None),
    )


def _finest(args: Mapping[str, str]) -> Resolution:
    name = args.get("resolution", RAW.name)
    for resolution in RESOLUTIONS:
        if resolution.name == name:
            return resolution
    names = ", ".join(resolution.name for resolution in RESOLUTIONS)
    raise NoSuchSpan(f"resolution must be one of {names}")


def _newest(conn: sqlite3.Connection, node: str) -> dict[int, Mapping[str, Any]]:
    found = conn.execute(
        "select sensor, measured_ms, value, age_s, silent from latest where node = ?", [node]
    )
    return {row["sensor"]: row for row in found}


def _row(
    conn: sqlite3.Connection,
    sensor: Sensor,
    span: Span,
    newest: Mapping[str, Any] | None,
    at_ms: int,
) -> Row:
    told = summary(conn, sensor, span)
    return Row(sensor, newest, told, _coverage(conn, sensor, span, told.n, at_ms))


def _coverage(
    conn: sqlite3.Connection, sensor: Sensor, span: Span, there: int, at_ms: int
) -> float | None:
    """How many readings there are of those that its usual rhythm would give."""
    instants = [
        row[0]
        for row in conn.execute(
            "select measured_ms from readings where sensor = ? order by measured_ms desc limit ?",
            [sensor.id, USUAL_OF],
        )
    ]
    if len(instants) < 2:
        return None
    usual_ms = median_low([late - early for late, early in pairwise(instants)])
    began_ms = first_ms(conn, sensor)
    length_ms = min(span.end_ms, at_ms) - max(span.start_ms, began_ms or instants[-1])
    expected = math.floor(length_ms / max(usual_ms, 1))
    return min(1.0, there / expected) if expected > 0 else None
