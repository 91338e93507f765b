"""What the charts of a node or a sensor show, read from the file."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple, TypeVar

from datasette.database import QueryInterrupted

from tmon.core.time import now_ms
from tmon.pages.corrections import Corrections, asks_for_raw, find
from tmon.pages.marks import Limits, Marks, limits_of, marks
from tmon.pages.points import (
    HOURLY,
    RAW,
    RESOLUTIONS,
    Line,
    Resolution,
    Sensor,
    first_ms,
    line,
    pruned_in,
    resolution_for,
)
from tmon.pages.spans import NoSuchSpan, Past, Span, span_of, together
from tmon.pages.station import NOT_AHEAD, ask

MOST_SENSORS = 48  # on one page; tables have them all
COARSE = frozenset(one.name for one in RESOLUTIONS[RESOLUTIONS.index(HOURLY) :])
HOURS_LIMIT_MS = 3000  # for what single readings were too many for, or the machine too busy
MOST_LINES = 8  # in one chart: so many colours can be told apart


T = TypeVar("T")


class Unknown(Exception):
    """There is no such node or sensor; the message is for its visitor."""


class Asked(NamedTuple):
    """What an address asks for; ``sensor`` is None for all of the node's."""

    node: str
    sensor: str | None
    args: Mapping[str, str]


class View(NamedTuple):
    """All that charts show; ``sensor`` is the one whose page it is, or None."""

    node: Mapping[str, Any]
    sensor: Sensor | None
    sensors: Sequence[Sensor]
    others: int  # sensors beyond those shown
    pasts: Mapping[int, Past]  # by the number of their sensor
    span: Span
    resolution: Resolution
    pruned: bool  # of a time in the span only the hours are kept
    charts: Sequence[Sequence[Line]]
    marks: Sequence[Marks]  # of each chart
    corrections: Corrections
    limits: Mapping[int, Limits]

    @property
    def clean(self) -> bool:
        """Whether some of its sensors are corrected, so that clean tables are read."""
        return any(sensor.clean for sensor in self.sensors)

    @property
    def latest(self) -> str:
        """The view that has the newest values as they are shown."""
        return "latest_clean" if self.clean else "latest"

    @property
    def past(self) -> Past:
        """Of all its sensors together."""
        return together(self.pasts.values())


def look(conn: sqlite3.Connection, asked: Asked, at_ms: int) -> View:
    """Read all that charts show.

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
    pasts = {sensor.id: _past(conn, sensor) for sensor in sensors}
    past = together(pasts.values())
    span = span_of(asked.args, past, at_ms)
    corrections = find(conn, pasts, span, past.last_ms, raw=asks_for_raw(asked.args))
    sensors = _corrected(sensors, corrections)
    groups = _groups(sensors)
    pruned = any(pruned_in(conn, sensor, span) for sensor in sensors)
    finest = _finest(asked.args, pruned=pruned)
    coarsest = max(
        (resolution_for(conn, group, span, finest) for group in groups),
        key=RESOLUTIONS.index,
        default=finest,
    )
    charts = [[line(conn, sensor, span, coarsest) for sensor in group] for group in groups]
    limits = limits_of(conn, pasts)
    marked = [marks(chart, corrections.flags, limits) for chart in charts]
    one = sensors[0] if asked.sensor else None
    return View(
        *(node, one, sensors, others, pasts, span, coarsest, pruned),
        *(charts, marked, corrections, limits),
    )


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


def _corrected(sensors: Sequence[Sensor], corrections: Corrections) -> list[Sensor]:
    """Where nothing corrects a sensor, its raw readings are read: they cost less."""
    clean = frozenset() if corrections.raw else corrections.sensors
    return [sensor._replace(clean=sensor.id in clean) for sensor in sensors]


def _groups(sensors: Sequence[Sensor]) -> list[list[Sensor]]:
    """A chart's sensors together: of one unit, and no more than there are colours."""
    by_unit = [[*group] for _, group in groupby(sensors, key=lambda sensor: sensor.unit)]
    return [
        group[first : first + MOST_LINES]
        for group in by_unit
        for first in range(0, len(group), MOST_LINES)
    ]


def _past(conn: sqlite3.Connection, sensor: Sensor) -> Past:
    sql = f"select max(measured_ms) from readings where sensor = ? and {NOT_AHEAD}"
    return Past(first_ms(conn, sensor), conn.execute(sql, [sensor.id]).fetchone()[0])


def _finest(args: Mapping[str, str], *, pruned: bool) -> Resolution:
    """What was asked for; no finer than hours where single readings of the span were pruned."""
    name = args.get("resolution", RAW.name)
    for place, resolution in enumerate(RESOLUTIONS):
        if resolution.name == name:
            return RESOLUTIONS[max(place, RESOLUTIONS.index(HOURLY))] if pruned else resolution
    names = ", ".join(resolution.name for resolution in RESOLUTIONS)
    raise NoSuchSpan(f"resolution must be one of {names}")


async def ask_in_time(
    datasette: Any, look: Callable[[sqlite3.Connection, Asked, int], T], asked: Asked
) -> T:
    """What is asked for; of hours where single readings take too long.

    Raises:
        QueryInterrupted: so do the hours.
    """
    try:
        return await ask(datasette, lambda conn: look(conn, asked, now_ms()))
    except QueryInterrupted:
        if asked.args.get("resolution") in COARSE:
            raise
        coarse = asked._replace(args={**asked.args, "resolution": HOURLY.name})
        return await ask(datasette, lambda conn: look(conn, coarse, now_ms()), HOURS_LIMIT_MS)
