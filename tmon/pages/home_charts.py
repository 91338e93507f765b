"""The small charts of the home page: a sensor's last 24 hours, or the whole of an archive."""

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from time import monotonic
from typing import NamedTuple

from datasette.utils import sqlite_timelimit
from datasette.utils.sqlite import sqlite3

from tmon.core.time import DAY_MS, HOUR_MS
from tmon.pages.queries import is_interrupted

HOURS = DAY_MS // HOUR_MS
CHART_HEIGHT = 40  # steps from low to high: finer than what a screen shows
DASH = "m-.4 0h.8"  # most of an hour

# Hourly means as points of a line: x in hours after the first, y from the top.
_DAY_CHARTS = """
select sensor, low, high, (
    select group_concat(
        ((hour_ms - :from_ms) / 3600000) || ' ' || coalesce(y, :height / 2), 'L'
    )
    from (
        select hour_ms, cast((high - sum / n) * scale + 0.5 as integer) as y from {hourly} as own
        where own.sensor = framed.sensor and hour_ms >= :from_ms and hour_ms <= :at_ms
        order by hour_ms
    )
) as points
from (
    select sensor, min(min) as low, max(max) as high,
        :height / nullif(max(max) - min(min), 0) as scale
    from {hourly}
    where sensor in (select value from json_each(:sensors))
        and hour_ms >= :from_ms and hour_ms <= :at_ms
    group by sensor
) as framed
"""

# The same for all that a sensor has, in as many parts as a day has hours.
_HISTORY_CHART = """
select part, min(min) as low, max(max) as high, sum(sum) / sum(n) as mean
from (
    select (hour_ms - first_ms) * :parts / (1 + last_ms - first_ms) as part, min, max, sum, n
    from hourly, (
        select min(hour_ms) as first_ms, max(hour_ms) as last_ms from hourly where sensor = :sensor
    )
    where sensor = :sensor
)
group by part order by part
"""


class DayChart(NamedTuple):
    """Low, high, and ``path``: the line of means over the last 24 clock hours and the present one.

    Or over all the time of an archive.
    """

    low: float
    high: float
    path: str


def load_charts(  # noqa: PLR0913, PLR0917
    connection: sqlite3.Connection,
    sensors: Sequence[int],
    corrected: Sequence[int],
    archives: Sequence[int],
    at_ms: int,
    until_s: float,
) -> tuple[dict[int, DayChart], bool]:
    """Charts by sensor, and whether there was time for all of them.

    Args:
        connection: read-only.
        sensors: those that are shown.
        corrected: those with calibrations or flags among them, or others.
        archives: those of them with a chart of all that they have.
        at_ms: now, Unix milliseconds.
        until_s: the time limit, by the monotonic clock.
    """
    charts: dict[int, DayChart] = {}
    with sqlite_timelimit(connection, max(0, until_s - monotonic()) * 1000):
        try:
            for hourly, own in (
                ("hourly", {*sensors}.difference(corrected, archives)),
                ("hourly_clean", {*sensors}.intersection(corrected).difference(archives)),
            ):
                if own:
                    _add_day_charts(connection, charts, hourly, [*own], at_ms)
            for sensor in archives:
                _add_history_chart(connection, charts, sensor)
        except sqlite3.OperationalError as error:
            if not is_interrupted(error):
                raise
            return charts, False
    return charts, True


def _add_day_charts(
    connection: sqlite3.Connection,
    charts: dict[int, DayChart],
    hourly: str,
    sensors: Sequence[int],
    at_ms: int,
) -> None:
    parameters = {
        "sensors": json.dumps(sensors),
        "from_ms": first_hour(at_ms),
        "at_ms": at_ms,
        "height": CHART_HEIGHT,
    }
    for row in connection.execute(_DAY_CHARTS.format(hourly=hourly), parameters):
        path = "".join(
            f"M{'L'.join(run)}" if len(run) > 1 else f"M{run[0]}{DASH}"
            for run in _without_gaps(row["points"].split("L"))
        )
        charts[row["sensor"]] = DayChart(row["low"], row["high"], path)


def _add_history_chart(
    connection: sqlite3.Connection, charts: dict[int, DayChart], sensor: int
) -> None:
    parameters = {"sensor": sensor, "parts": HOURS}
    rows = connection.execute(_HISTORY_CHART, parameters).fetchall()
    if not rows:
        return
    low, high = min(row["low"] for row in rows), max(row["high"] for row in rows)
    scale = CHART_HEIGHT / (high - low) if high > low else 0
    points = [
        f"{row['part']} {round((high - row['mean']) * scale) if scale else CHART_HEIGHT // 2}"
        for row in rows
    ]
    path = f"M{'L'.join(points)}" if len(points) > 1 else f"M{points[0]}{DASH}"
    charts[sensor] = DayChart(low, high, path)


def first_hour(at_ms: int) -> int:
    """Where the last 24 clock hours begin, the present one included (Unix ms)."""
    return at_ms // HOUR_MS * HOUR_MS - (HOURS - 1) * HOUR_MS


def _without_gaps(points: Sequence[str]) -> Iterable[Sequence[str]]:
    """Split points such as ``5 40`` where hours are missing.

    A sensor that never has readings in successive hours may skip three times its shortest step.
    """
    first, last = (int(point.partition(" ")[0]) for point in (points[0], points[-1]))
    if last - first == len(points) - 1:
        return [points]
    hours = [int(point.partition(" ")[0]) for point in points]
    steps = [late - early for early, late in pairwise(hours)]
    longest = 1 if min(steps) == 1 else 3 * min(steps)
    ends = [place for place, step in enumerate(steps, 1) if step > longest]
    return [points[begin:end] for begin, end in pairwise([0, *ends, len(points)])]
