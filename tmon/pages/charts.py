"""Charts of any sensors in a span of time, read from the database; one chart for each unit."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple, TypeVar

from datasette.database import QueryInterrupted

from tmon.core.languages import gettext
from tmon.core.time import now_ms
from tmon.pages.annotations import Annotations, Limits, annotate, load_limits
from tmon.pages.corrections import Corrections, load_corrections, wants_raw
from tmon.pages.marks import Mark, load_marks
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
from tmon.pages.rates import coarse_enough, is_counter, load_rate, parse_rate, with_rate
from tmon.pages.renamed import find_renamed
from tmon.pages.spans import (
    BadSpan,
    Earlier,
    ReadingRange,
    Span,
    combined,
    parse_before,
    parse_span,
)
from tmon.pages.switches import find_switches, is_on_off, load_held, without_gaps
from tmon.pages.value_range import FREE, ValueRange, parse_value_range

COARSE = frozenset(one.name for one in RESOLUTIONS[RESOLUTIONS.index(HOURLY) :])
HOURLY_LIMIT_MS = 3000  # for the second attempt, with hourly means
MAX_LINES = 8  # in one chart: as many colours as people can tell apart

T = TypeVar("T")
Parameters = Mapping[str, str]
Load = Callable[[sqlite3.Connection, Parameters, int], T]


class NotFoundByName(Exception):
    """There is no such node or sensor; the message is for the visitor."""


class ChartView(NamedTuple):
    """All that the charts of some sensors show."""

    sensors: Sequence[Sensor]
    ranges: Mapping[int, ReadingRange]  # by sensor id
    span: Span
    before: Earlier | None  # drawn as second, pale lines
    resolution: Resolution
    pruned: bool  # only hourly means are left of some time in the span
    charts: Sequence[Sequence[Line]]  # in each, the lines of the earlier span come last
    annotations: Sequence[Annotations]  # of each chart
    corrections: Corrections
    limits: Mapping[int, Limits]
    marks: Sequence[Mark]  # of all charts, newest first
    rate: str  # of counters: hour, day, or empty
    value_range: ValueRange  # of the first unit, as the visitor sees it

    @property
    def clean(self) -> bool:
        """Whether corrected values are shown, which are in tables and views of their own."""
        return any(sensor.clean for sensor in self.sensors)

    @property
    def latest(self) -> str:
        """The view with the newest values, corrected or not as the charts are."""
        return "latest_clean" if self.clean else "latest"

    @property
    def has_counters(self) -> bool:
        return any(is_counter(sensor) for sensor in self.sensors)

    @property
    def readings(self) -> ReadingRange:
        """The range of all its sensors' readings."""
        return combined(self.ranges.values())


def find_sensor(connection: sqlite3.Connection, address: str) -> Sensor:
    """A sensor by ``node/sensor``, by a former name too.

    Raises:
        NotFoundByName: there is none.
    """
    node, _, name = address.partition("/")
    sql = "select id, name, unit, node from sensors where node = ? and name = ?"
    row = connection.execute(sql, [node, name]).fetchone()
    if row is None and name and (present := find_renamed(connection, node, name)):
        row = connection.execute(sql, [*present]).fetchone()
    if row is None:
        message = gettext(
            "s: there is no sensor {address}. Write the node, a slash and the sensor,"
            " such as attic/temperature."
        )
        raise NotFoundByName(message.format(address=address))
    return Sensor(row["id"], row["name"], row["unit"], node=row["node"])


def load_charts(
    connection: sqlite3.Connection, sensors: Iterable[Sensor], parameters: Parameters, at_ms: int
) -> ChartView:
    """Read the charts of sensors; the parameters are those of the address.

    Raises:
        BadSpan: a parameter is not valid.
    """
    sensors = _by_unit(sensors)
    ranges = {sensor.id: reading_range(connection, sensor) for sensor in sensors}
    readings = combined(ranges.values())
    span = parse_span(parameters, readings, at_ms)
    before = parse_before(parameters, span)
    rate, value_range = parse_rate(parameters), parse_value_range(parameters)
    raw = wants_raw(parameters)
    corrections = load_corrections(connection, ranges, span, readings.last_ms, raw=raw)
    clean = corrections.sensors
    if before:
        clean |= load_corrections(connection, ranges, before.span, None, raw=raw).sensors
    # Reading raw values costs less, so only sensors with corrections are read from clean views.
    switches = find_switches(connection, ranges)
    sensors = [
        sensor._replace(clean=not raw and sensor.id in clean, is_switch=sensor.id in switches)
        for sensor in sensors
    ]
    groups = _by_chart(_by_unit(with_rate(sensor, rate) for sensor in sensors))
    spans = [span, *([before.span] if before else [])]
    pruned = any(is_pruned(connection, sensor, one) for sensor in sensors for one in spans)
    finest = _finest(parameters, pruned=pruned)
    if rate and any(is_counter(sensor) for sensor in sensors):
        finest = coarse_enough(finest, rate)
    resolution = max(
        (choose_resolution(connection, group, *(span, finest), *spans[1:]) for group in groups),
        key=RESOLUTIONS.index,
        default=finest,
    )
    lines = [
        [_line(connection, sensor, span, resolution, at_ms) for sensor in group] for group in groups
    ]
    limits = load_limits(connection, ranges)
    labels = {sensor.id: sensor.label for sensor in sensors}
    marks = load_marks(connection, labels, span, corrections.flags, at_ms)
    fixed = [*_fixed_ranges(lines, value_range, fahrenheit=parameters.get("unit") == "F")]
    annotations = [
        annotate(chart, corrections.flags, limits, marks, within)
        for chart, within in zip(lines, fixed, strict=True)
    ]
    if before:
        for chart in lines:
            chart += [_earlier_line(connection, line, span, before, resolution) for line in chart]
    return ChartView(
        *(sensors, ranges, span, before, resolution, pruned, lines, annotations),
        *(corrections, limits, marks, rate, value_range),
    )


def _fixed_ranges(
    charts: Sequence[Sequence[Line]], asked: ValueRange, *, fahrenheit: bool
) -> Iterator[ValueRange]:
    """The range of each chart in its own unit: what is asked is for the first chart's unit.

    A rate begins at 0, unless it is asked to begin elsewhere.
    """
    for chart in charts:
        unit = chart[0].sensor.unit
        within = asked.in_celsius() if fahrenheit and unit == "°C" else asked
        if unit != charts[0][0].sensor.unit:
            within = FREE
        if chart[0].sensor.rate and within.low is None and (within.high is None or within.high > 0):
            within = within._replace(low=0.0)
        yield within


def _line(
    connection: sqlite3.Connection, sensor: Sensor, span: Span, resolution: Resolution, at_ms: int
) -> Line:
    """A sensor's line; single readings of switches and counters hold until the next one."""
    if sensor.rate:
        return load_rate(connection, sensor, span, resolution)
    line = load_line(connection, sensor, span, resolution)
    holds = (
        sensor.is_switch
        or is_counter(sensor)
        or {point[1] for point in line.points} in ({0.0}, {1.0}, {0.0, 1.0})
    )
    line = line._replace(stepped=holds and resolution == RAW)
    if not is_on_off(line) or not without_gaps(line):
        return line
    held = load_held(connection, line, span, at_ms)
    return line._replace(gap_ms=span.length_ms, held=held)


def _earlier_line(
    connection: sqlite3.Connection, line: Line, span: Span, before: Earlier, resolution: Resolution
) -> Line:
    """A sensor's line of the earlier span, moved to the shown one."""
    earlier = _line(connection, line.sensor, before.span, resolution, before.span.end_ms)
    earlier = earlier._replace(stepped=earlier.stepped or line.stepped)
    return earlier.moved(span.start_ms - before.span.start_ms, before.in_words)


def _by_unit(sensors: Iterable[Sensor]) -> list[Sensor]:
    """Sensors of one unit side by side, in the order of the first of each unit."""
    listed = [*sensors]
    first_places = {sensor.unit: place for place, sensor in reversed([*enumerate(listed)])}
    return sorted(listed, key=lambda sensor: first_places[sensor.unit])


def _by_chart(sensors: Sequence[Sensor]) -> list[list[Sensor]]:
    """The sensors of each chart: of one unit, and at most ``MAX_LINES``."""
    by_unit = [[*group] for _, group in groupby(sensors, key=lambda sensor: sensor.unit)]
    return [
        group[first : first + MAX_LINES]
        for group in by_unit
        for first in range(0, len(group), MAX_LINES)
    ]


def _finest(parameters: Parameters, *, pruned: bool) -> Resolution:
    """The requested resolution; at least hourly where readings of the span were pruned."""
    name = parameters.get("resolution", RAW.name)
    for place, resolution in enumerate(RESOLUTIONS):
        if resolution.name == name:
            return RESOLUTIONS[max(place, RESOLUTIONS.index(HOURLY))] if pruned else resolution
    names = ", ".join(resolution.name for resolution in RESOLUTIONS)
    raise BadSpan(gettext("resolution must be one of {names}").format(names=names))


async def load_in_time(datasette: Any, load: Load[T], parameters: Parameters) -> T:
    """Run ``load`` with the address's parameters; if it takes too long, with hourly means.

    Raises:
        QueryInterrupted: that took too long as well.
    """
    try:
        return await run_query(datasette, lambda connection: load(connection, parameters, now_ms()))
    except QueryInterrupted:
        if parameters.get("resolution") in COARSE:
            raise
        hourly = {**parameters, "resolution": HOURLY.name}
        return await run_query(
            datasette, lambda connection: load(connection, hourly, now_ms()), HOURLY_LIMIT_MS
        )
