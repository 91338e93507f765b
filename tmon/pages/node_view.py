"""The charts of a node or a sensor, read from the database."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple, TypeVar

from datasette.database import QueryInterrupted

from tmon.core.time import now_ms
from tmon.pages.annotations import Annotations, Limits, annotate, load_limits
from tmon.pages.corrections import Corrections, load_corrections, wants_raw
from tmon.pages.points import (
    HOURLY,
    RAW,
    RESOLUTIONS,
    Line,
    Resolution,
    Sensor,
    choose_resolution,
    is_pruned,
    load_line,
    reading_range,
)
from tmon.pages.queries import run_query
from tmon.pages.spans import BadSpan, ReadingRange, Span, combined, parse_span

MAX_SENSORS = 48  # on one page; the tables have them all
COARSE = frozenset(one.name for one in RESOLUTIONS[RESOLUTIONS.index(HOURLY) :])
HOURLY_LIMIT_MS = 3000  # for the second attempt, with hourly means
MAX_LINES = 8  # in one chart: as many colours as people can tell apart

T = TypeVar("T")


class NotFoundByName(Exception):
    """There is no such node or sensor; the message is for the visitor."""


class NodeQuery(NamedTuple):
    """What an address asks for; ``sensor`` is None for all sensors of the node."""

    node: str
    sensor: str | None
    parameters: Mapping[str, str]


class NodeView(NamedTuple):
    """All that the charts show; ``sensor`` is None on a node's page."""

    node: Mapping[str, Any]
    sensor: Sensor | None
    sensors: Sequence[Sensor]
    others: int  # sensors beyond MAX_SENSORS
    ranges: Mapping[int, ReadingRange]  # by sensor id
    span: Span
    resolution: Resolution
    pruned: bool  # only hourly means are left of some time in the span
    charts: Sequence[Sequence[Line]]
    annotations: Sequence[Annotations]  # of each chart
    corrections: Corrections
    limits: Mapping[int, Limits]

    @property
    def clean(self) -> bool:
        """Whether corrected values are shown, which are in tables and views of their own."""
        return any(sensor.clean for sensor in self.sensors)

    @property
    def latest(self) -> str:
        """The view with the newest values, corrected or not as the charts are."""
        return "latest_clean" if self.clean else "latest"

    @property
    def readings(self) -> ReadingRange:
        """The range of all its sensors' readings."""
        return combined(self.ranges.values())


def load_view(connection: sqlite3.Connection, query: NodeQuery, at_ms: int) -> NodeView:
    """Read all that the charts show.

    Raises:
        NotFoundByName: no such node or sensor.
        BadSpan: the span or resolution in the address is not valid.
    """
    node = connection.execute(
        "select name, description, latitude, longitude, last_received_ms from nodes where name = ?",
        [query.node],
    ).fetchone()
    if node is None:
        raise NotFoundByName(f"There is no node called {query.node}.")
    sensors, others = _load_sensors(connection, query)
    ranges = {sensor.id: reading_range(connection, sensor) for sensor in sensors}
    readings = combined(ranges.values())
    span = parse_span(query.parameters, readings, at_ms)
    raw = wants_raw(query.parameters)
    corrections = load_corrections(connection, ranges, span, readings.last_ms, raw=raw)
    # Reading raw values costs less, so only sensors with corrections are read from clean views.
    clean = frozenset() if raw else corrections.sensors
    sensors = [sensor._replace(clean=sensor.id in clean) for sensor in sensors]
    groups = _by_chart(sensors)
    pruned = any(is_pruned(connection, sensor, span) for sensor in sensors)
    finest = _finest(query.parameters, pruned=pruned)
    resolution = max(
        (choose_resolution(connection, group, span, finest) for group in groups),
        key=RESOLUTIONS.index,
        default=finest,
    )
    charts = [
        [load_line(connection, sensor, span, resolution) for sensor in group] for group in groups
    ]
    limits = load_limits(connection, ranges)
    annotations = [annotate(chart, corrections.flags, limits) for chart in charts]
    return NodeView(
        *(node, sensors[0] if query.sensor else None, sensors, others, ranges, span),
        *(resolution, pruned, charts, annotations, corrections, limits),
    )


def _load_sensors(connection: sqlite3.Connection, query: NodeQuery) -> tuple[list[Sensor], int]:
    """The sensors to show, grouped by unit, and the number of those beyond ``MAX_SENSORS``."""
    rows = connection.execute(
        "select id, name, unit from sensors where node = ? and name = coalesce(?, name)"
        " order by unit is not '°C', name",  # temperatures first
        [query.node, query.sensor],
    ).fetchall()
    if query.sensor and not rows:
        raise NotFoundByName(f"The node {query.node} has no sensor called {query.sensor}.")
    shown = [Sensor(*row) for row in rows[:MAX_SENSORS]]
    first_places = {sensor.unit: place for place, sensor in reversed([*enumerate(shown)])}
    return sorted(shown, key=lambda sensor: first_places[sensor.unit]), len(rows) - len(shown)


def _by_chart(sensors: Sequence[Sensor]) -> list[list[Sensor]]:
    """The sensors of each chart: of one unit, and at most ``MAX_LINES``."""
    by_unit = [[*group] for _, group in groupby(sensors, key=lambda sensor: sensor.unit)]
    return [
        group[first : first + MAX_LINES]
        for group in by_unit
        for first in range(0, len(group), MAX_LINES)
    ]


def _finest(parameters: Mapping[str, str], *, pruned: bool) -> Resolution:
    """The requested resolution; at least hourly where readings of the span were pruned."""
    name = parameters.get("resolution", RAW.name)
    for place, resolution in enumerate(RESOLUTIONS):
        if resolution.name == name:
            return RESOLUTIONS[max(place, RESOLUTIONS.index(HOURLY))] if pruned else resolution
    names = ", ".join(resolution.name for resolution in RESOLUTIONS)
    raise BadSpan(f"resolution must be one of {names}")


async def load_in_time(
    datasette: Any, load: Callable[[sqlite3.Connection, NodeQuery, int], T], query: NodeQuery
) -> T:
    """Run ``load_view`` or the like; if it takes too long, once more with hourly means.

    Raises:
        QueryInterrupted: that took too long as well.
    """
    try:
        return await run_query(datasette, lambda connection: load(connection, query, now_ms()))
    except QueryInterrupted:
        if query.parameters.get("resolution") in COARSE:
            raise
        hourly = query._replace(parameters={**query.parameters, "resolution": HOURLY.name})
        return await run_query(
            datasette, lambda connection: load(connection, hourly, now_ms()), HOURLY_LIMIT_MS
        )
