"""The numbers of sensors in a span, and their charts as a table, read from the database."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tmon.pages.charts import MAX_LINES, ChartView
from tmon.pages.coverage import load_coverage
from tmon.pages.points import (
    Resolution,
    Sensor,
    Summary,
    is_pruned,
    load_line,
    load_summary,
    table_resolution,
)
from tmon.pages.rates import coarse_enough, load_rate, with_rate
from tmon.pages.spans import Span
from tmon.pages.switches import OnTime, on_time


class SensorRow(NamedTuple):
    """A sensor's newest reading and its numbers in the span; ``coverage`` is from 0 to 1.

    ``earlier`` has the numbers of the same span before, if the charts show it; ``on`` is when a
    switch was on.
    """

    sensor: Sensor
    now: Mapping[str, Any] | None
    summary: Summary
    coverage: float | None
    earlier: Summary | None
    on: OnTime | None


class Numbers(NamedTuple):
    """The numbers of each sensor, and the charts as a table."""

    rows: Sequence[SensorRow]
    resolution: Resolution  # of the table
    columns: Sequence[Sensor]  # of the table; under a rate, counters have its unit
    table: Sequence[tuple[int, Sequence[tuple[float, ...] | None]]]  # time, a point per sensor

    @property
    def is_empty(self) -> bool:
        return not any(row.summary.n for row in self.rows)


def load_numbers(connection: sqlite3.Connection, view: ChartView, at_ms: int) -> Numbers:
    """Read what is below the charts."""
    latest = connection.execute(
        f"select sensor, measured_ms, value, age_s, silent from {view.latest}"
        " where sensor in (select value from json_each(?))",
        [json.dumps([sensor.id for sensor in view.sensors])],
    )
    newest = {row["sensor"]: row for row in latest}
    lines = {line.sensor.id: line for chart in view.charts for line in chart if not line.before}
    rows = []
    for sensor in view.sensors:
        summary = load_summary(connection, sensor, view.span)
        first_ms = max(view.span.start_ms, view.ranges[sensor.id].first_ms or view.span.start_ms)
        so_far = Span(first_ms, min(view.span.end_ms, at_ms))
        pruned = view.pruned and is_pruned(connection, sensor, view.span)
        line = lines[sensor.id]
        # A switch that sends only changes has no interval.
        coverage = (
            None
            if line.held
            else load_coverage(connection, sensor, so_far, n=summary.n, pruned=pruned)
        )
        earlier = view.before and load_summary(connection, sensor, view.before.span)
        on = on_time(line, view.span, at_ms)
        rows.append(SensorRow(sensor, newest.get(sensor.id), summary, coverage, earlier, on))
    return Numbers(rows, *_load_table(connection, view))


def _load_table(
    connection: sqlite3.Connection, view: ChartView
) -> tuple[Resolution, Sequence[Sensor], list[tuple[int, Sequence[tuple[float, ...] | None]]]]:
    """The points of the first sensors side by side, newest first."""
    resolution = table_resolution(view.span)
    sensors = [with_rate(sensor, view.rate) for sensor in view.sensors[:MAX_LINES]]
    if any(sensor.rate for sensor in sensors):
        resolution = coarse_enough(resolution, view.rate)
    lines = [
        (load_rate if sensor.rate else load_line)(connection, sensor, view.span, resolution)
        for sensor in sensors
    ]
    by_time = [{int(point[0]): point for point in line.points} for line in lines]
    times = sorted({time for points in by_time for time in points}, reverse=True)
    return resolution, sensors, [(time, [points.get(time) for points in by_time]) for time in times]
