"""The points of a chart: all readings of a span, or means when there are too many."""

import sqlite3
from collections.abc import Sequence
from itertools import pairwise
from statistics import median_low
from typing import NamedTuple

from tmon.core.languages import N_, gettext
from tmon.core.time import DAY_MS, HOUR_MS
from tmon.pages.queries import NOT_AHEAD
from tmon.pages.spans import ReadingRange, Span

MAX_POINTS = 2000  # of all lines of a chart together
MIN_POINTS_PER_LINE = 200  # a line may have as many, however many lines there are
MAX_TABLE_ROWS = 62  # of the chart as a table: two months of days
MAX_VALUE = 1e30  # ingest stores no larger value; another program or a calibration could
MAX_MINUTES_SPAN_MS = 2 * DAY_MS  # means of minutes are computed from raw readings

# Raw readings, or with _CLEAN those that calibrations and flags have corrected.
_CLEAN = "_clean"
_READINGS = """select measured_ms, value
from readings{clean}
where sensor = :sensor and measured_ms >= :from_ms and measured_ms < :to_ms
order by measured_ms"""

_MINUTES = """select measured_ms - (measured_ms % {step_ms} + {step_ms}) % {step_ms} as start_ms,
  avg(value) as mean, min(value) as min, max(value) as max, count(*) as n
from readings{clean}
where sensor = :sensor and measured_ms >= :from_ms and measured_ms < :to_ms
group by start_ms
order by start_ms"""

_HOURS = """select hour_ms as start_ms, sum / n as mean, min, max, n
from hourly{clean}
where sensor = :sensor and hour_ms > :from_ms - 3600000 and hour_ms < :to_ms
order by hour_ms"""

_DAYS = """select hour_ms - (hour_ms % {step_ms} + {step_ms}) % {step_ms} as start_ms,
  sum(sum) / sum(n) as mean, min(min) as min, max(max) as max, sum(n) as n
from hourly{clean}
where sensor = :sensor and hour_ms > :from_ms - 3600000 and hour_ms < :to_ms
group by start_ms
order by start_ms"""


_MEANS = {
    "raw": N_("every reading"),
    "1-minute": N_("1-minute means"),
    "10-minute": N_("10-minute means"),
    "hourly": N_("hourly means"),
    "daily": N_("daily means"),
    "weekly": N_("weekly means"),
    "4-weekly": N_("4-weekly means"),
}


class Resolution(NamedTuple):
    """What one point stands for: a reading (``step_ms`` is 0) or the mean of a step of time."""

    name: str
    step_ms: int
    sql: str
    clean_sql: str

    @property
    def in_words(self) -> str:
        return gettext(_MEANS[self.name])

    def sql_for(self, sensor: "Sensor") -> str:
        """The SQL that selects a sensor's points."""
        return self.clean_sql if sensor.clean else self.sql


def _resolution(name: str, step_ms: int, sql: str) -> Resolution:
    return Resolution(name, step_ms, *(sql.format(step_ms=step_ms, clean=c) for c in ("", _CLEAN)))


RAW = _resolution("raw", 0, _READINGS)
HOURLY = _resolution("hourly", HOUR_MS, _HOURS)
RESOLUTIONS = (
    RAW,
    *(_resolution(f"{minutes}-minute", minutes * 60_000, _MINUTES) for minutes in (1, 10)),
    HOURLY,
    *(
        _resolution(name, days * DAY_MS, _DAYS)
        for name, days in (("daily", 1), ("weekly", 7), ("4-weekly", 28))
    ),
)


class Sensor(NamedTuple):
    """A sensor; ``clean``: its corrected readings are shown, as it has corrections.

    ``node`` is its node's name where sensors of several nodes are shown; ``rate`` is hour or day
    for a counter of which that is drawn; a switch has the values 0, off, and 1, on.
    """

    id: int
    name: str
    unit: str | None
    clean: bool = False
    node: str = ""
    rate: str = ""
    is_switch: bool = False

    @property
    def label(self) -> str:
        """What a chart calls it."""
        return f"{self.node} {self.name}" if self.node else self.name


class Line(NamedTuple):
    """A sensor's points in order of time, as the resolution's SQL selects them.

    The mean of a step is drawn in its middle, ``half_step_ms`` after its start. Between two
    points that are further apart than ``gap_ms`` the line has a gap. ``before`` is such as
    "a week before" for points of an earlier span, which are moved to the shown one. In a
    ``stepped`` line a value holds until the next. ``held`` are no readings, but what a switch is
    known to be at the ends of the span; they are drawn too.
    """

    sensor: Sensor
    points: Sequence[tuple[float, ...]]
    gap_ms: float
    half_step_ms: float
    before: str = ""
    stepped: bool = False
    held: Sequence[tuple[float, ...]] = ()

    @property
    def drawn(self) -> Sequence[tuple[float, ...]]:
        return sorted([*self.held, *self.points]) if self.held else self.points

    def moved(self, by_ms: int, before: str) -> "Line":
        """The same line, drawn later."""
        points, held = (
            [(point[0] + by_ms, *point[1:]) for point in some] for some in (self.points, self.held)
        )
        return self._replace(points=points, held=held, before=before)

    def in_fahrenheit(self) -> "Line":
        """The same line, of a sensor in °C."""
        points = [
            (point[0], *(value * 9 / 5 + 32 for value in point[1:4]), *point[4:])
            for point in self.points
        ]
        return self._replace(sensor=self.sensor._replace(unit="°F"), points=points)


class Summary(NamedTuple):
    """Lowest, highest and mean value of a sensor's readings in a span, and their number."""

    low: float | None
    high: float | None
    mean: float | None
    n: int


def choose_resolution(
    connection: sqlite3.Connection,
    sensors: Sequence[Sensor],
    span: Span,
    finest: Resolution = RAW,
    earlier: Span | None = None,
) -> Resolution:
    """``finest``, or the next coarser one that has few enough points.

    ``earlier`` is a span of the same length that is drawn as well.
    """
    spans = (span,) if earlier is None else (span, earlier)
    limit = max(MAX_POINTS // max(1, len(sensors) * len(spans)), MIN_POINTS_PER_LINE)
    for resolution in RESOLUTIONS[RESOLUTIONS.index(finest) :]:
        if 0 < resolution.step_ms < HOUR_MS and span.length_ms > MAX_MINUTES_SPAN_MS:
            continue
        if resolution.step_ms and span.length_ms / resolution.step_ms <= limit:
            return resolution
        sql = "select count(*) from (select 1 from ({}) limit {})"
        if resolution in {RAW, HOURLY} and all(
            connection.execute(
                sql.format(resolution.sql_for(sensor), limit + 1), query_parameters(sensor, one)
            ).fetchone()[0]
            <= limit
            for sensor in sensors
            for one in spans
        ):
            return resolution
    return RESOLUTIONS[-1]


def is_pruned(connection: sqlite3.Connection, sensor: Sensor, span: Span) -> bool:
    """Whether only hourly means are left of some time in the span."""
    sql = """select exists (
        select 1 from hourly
        where sensor = id and hour_ms > :from_ms - 3600000
            and hour_ms < min(pruned_before_ms, :to_ms)
        ) from sensors where id = :sensor"""
    row = connection.execute(sql, query_parameters(sensor, span)).fetchone()
    return row is not None and bool(row[0])


def reading_range(connection: sqlite3.Connection, sensor: Sensor) -> ReadingRange:
    """When a sensor's first and last reading were; of a pruned first reading, its hour."""
    sql = f"""select coalesce(
            (select min(hour_ms) from hourly where sensor = id and hour_ms < pruned_before_ms),
            (select min(measured_ms) from readings where sensor = id and {NOT_AHEAD})
        ),
        (select max(measured_ms) from readings where sensor = id and {NOT_AHEAD})
        from sensors where id = ?"""
    return ReadingRange(*connection.execute(sql, [sensor.id]).fetchone())


def load_line(
    connection: sqlite3.Connection, sensor: Sensor, span: Span, resolution: Resolution
) -> Line:
    """A sensor's points in a span, without values that no chart can show, such as infinity."""
    sql, parameters = resolution.sql_for(sensor), query_parameters(sensor, span)
    points = [
        tuple(row)
        for row in connection.execute(sql, parameters)
        # The sum of both infinities is NULL.
        if all(value is not None and abs(value) <= MAX_VALUE for value in row[1:4])
    ]
    distances = [after[0] - before[0] for before, after in pairwise(points)]
    usual_ms, step_ms = median_low(distances) if distances else 0, resolution.step_ms
    gap_ms = 3 * usual_ms if usual_ms > step_ms else 1.5 * step_ms
    return Line(sensor, points, gap_ms, step_ms / 2)


def table_resolution(span: Span) -> Resolution:
    """The finest of hours, days and so on that makes no more rows than people read."""
    coarse = RESOLUTIONS[RESOLUTIONS.index(HOURLY) :]
    fitting = (one for one in coarse if span.length_ms / one.step_ms <= MAX_TABLE_ROWS)
    return next(fitting, RESOLUTIONS[-1])


def load_summary(connection: sqlite3.Connection, sensor: Sensor, span: Span) -> Summary:
    """Summarize all readings of a span: whole hours, and the readings before and after them."""
    first_hour_ms = -(-span.start_ms // HOUR_MS) * HOUR_MS
    last_hour_ms = max(span.end_ms // HOUR_MS * HOUR_MS, first_hour_ms)
    clean = _CLEAN if sensor.clean else ""
    row = connection.execute(
        f"""
        select min(min), max(max), sum(sum) / sum(n), coalesce(sum(n), 0) from (
            select n, sum, min, max from hourly{clean}
            where sensor = :sensor and hour_ms >= :first_hour_ms and hour_ms < :last_hour_ms
            union all
            select 1, value, value, value from readings{clean}
            where sensor = :sensor and measured_ms >= :from_ms
                and measured_ms < min(:first_hour_ms, :to_ms)
            union all
            select 1, value, value, value from readings{clean}
            where sensor = :sensor and measured_ms >= :last_hour_ms and measured_ms < :to_ms
        )
        """,
        {
            **query_parameters(sensor, span),
            "first_hour_ms": first_hour_ms,
            "last_hour_ms": last_hour_ms,
        },
    ).fetchone()
    return Summary(*row)


def query_parameters(sensor: Sensor, span: Span) -> dict[str, int]:
    """The parameters of a resolution's SQL."""
    return {"sensor": sensor.id, "from_ms": span.start_ms, "to_ms": span.end_ms}
