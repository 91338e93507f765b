"""What a chart draws: every reading of a span, or means that are few enough to be sent."""

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median_low
from typing import NamedTuple

from tmon.core.time import DAY_MS, HOUR_MS
from tmon.pages.spans import Span
from tmon.pages.station import NOT_AHEAD

MOST_POINTS = 2000  # of all lines of a chart together
FEWEST_EACH = 200  # of one line, however many there are
ROWS_READ = 62  # of a table: two months of days
LARGEST = 1e30  # ingest stores no larger value; only another program or a calibration makes one
FINEST_SPAN_MS = 2 * DAY_MS  # of minutes, which are made of raw readings

# Of raw readings, or with _CLEAN of what calibrations and flags make of them.
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


class Resolution(NamedTuple):
    """What one point stands for; ``step_ms`` is 0 where that is one reading."""

    name: str
    step_ms: int
    sql: str
    clean_sql: str

    def of(self, sensor: "Sensor") -> str:
        """The SQL that gives a sensor's points."""
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
    """One line of a chart; ``clean``: of its clean readings, as something corrects them."""

    id: int
    name: str
    unit: str | None
    clean: bool = False


class Line(NamedTuple):
    """A sensor's points in the order of time, as its resolution's SQL gives them.

    A point that stands for a step of time lies in its middle, ``half_step_ms`` on.
    Two that are further apart than ``gap_ms`` have a gap between them.
    """

    sensor: Sensor
    points: Sequence[tuple[float, ...]]
    gap_ms: float
    half_step_ms: float


class Summary(NamedTuple):
    """A sensor's readings in a span, all of them; None where there are none."""

    low: float | None
    high: float | None
    mean: float | None
    n: int


def resolution_for(
    conn: sqlite3.Connection, sensors: Sequence[Sensor], span: Span, finest: Resolution = RAW
) -> Resolution:
    """``finest``, or the first after it that makes no more points of all sensors than are sent."""
    most = max(MOST_POINTS // max(1, len(sensors)), FEWEST_EACH)
    for resolution in RESOLUTIONS[RESOLUTIONS.index(finest) :]:
        if 0 < resolution.step_ms < HOUR_MS and span.length_ms > FINEST_SPAN_MS:
            continue
        if resolution.step_ms and span.length_ms / resolution.step_ms <= most:
            return resolution
        if resolution in {RAW, HOURLY} and _fit(conn, resolution, sensors, span, most):
            return resolution
    return RESOLUTIONS[-1]


def pruned_in(conn: sqlite3.Connection, sensor: Sensor, span: Span) -> bool:
    """Whether of a time in the span only the hours of a sensor's readings are kept."""
    sql = """select exists (
        select 1 from hourly
        where sensor = id and hour_ms > :from_ms - 3600000
            and hour_ms < min(pruned_before_ms, :to_ms)
        ) from sensors where id = :sensor"""
    row = conn.execute(sql, parameters(sensor, span)).fetchone()
    return row is not None and bool(row[0])


def first_ms(conn: sqlite3.Connection, sensor: Sensor) -> int | None:
    """When a sensor's first reading was, or its hour began where that reading was pruned."""
    sql = f"""select coalesce(
            (select min(hour_ms) from hourly where sensor = id and hour_ms < pruned_before_ms),
            (select min(measured_ms) from readings where sensor = id and {NOT_AHEAD})
        ) from sensors where id = ?"""
    first: int | None = conn.execute(sql, [sensor.id]).fetchone()[0]
    return first


def _fit(
    conn: sqlite3.Connection,
    resolution: Resolution,
    sensors: Sequence[Sensor],
    span: Span,
    most: int,
) -> bool:
    sql = "select count(*) from (select 1 from ({}) limit {})"
    return all(
        conn.execute(
            sql.format(resolution.of(sensor), most + 1), parameters(sensor, span)
        ).fetchone()[0]
        <= most
        for sensor in sensors
    )


def line(conn: sqlite3.Connection, sensor: Sensor, span: Span, resolution: Resolution) -> Line:
    """One sensor's points in a span, without those that no chart can show, such as infinity."""
    rows = conn.execute(resolution.of(sensor), parameters(sensor, span)).fetchall()
    points = [tuple(row) for row in rows if _can_be_drawn(row[1:4])]
    return Line(sensor, points, _gap_ms(points, resolution), resolution.step_ms / 2)


def _can_be_drawn(values: Iterable[float | None]) -> bool:
    """SQLite answers NULL for the sum of both infinities."""
    return all(value is not None and abs(value) <= LARGEST for value in values)


def for_a_table(span: Span) -> Resolution:
    """Hours, days or more: what makes about as many rows as people read."""
    least = RESOLUTIONS.index(HOURLY)
    fitting = (one for one in RESOLUTIONS[least:] if span.length_ms / one.step_ms <= ROWS_READ)
    return next(fitting, RESOLUTIONS[-1])


def summary(conn: sqlite3.Connection, sensor: Sensor, span: Span) -> Summary:
    """Low, high, mean and number of all readings, from whole hours and what is beside them."""
    first_hour_ms = -(-span.start_ms // HOUR_MS) * HOUR_MS
    last_hour_ms = max(span.end_ms // HOUR_MS * HOUR_MS, first_hour_ms)
    clean = _CLEAN if sensor.clean else ""
    row = conn.execute(
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
            **parameters(sensor, span),
            "first_hour_ms": first_hour_ms,
            "last_hour_ms": last_hour_ms,
        },
    ).fetchone()
    return Summary(*row)


def parameters(sensor: Sensor, span: Span) -> dict[str, int]:
    """What a resolution's SQL asks for."""
    return {"sensor": sensor.id, "from_ms": span.start_ms, "to_ms": span.end_ms}


def _gap_ms(points: Sequence[tuple[float, ...]], resolution: Resolution) -> float:
    """Three times the usual distance, or else more than one step."""
    apart = [after[0] - before[0] for before, after in pairwise(points)]
    usual_ms = median_low(apart) if apart else 0
    return 3 * usual_ms if usual_ms > resolution.step_ms else 1.5 * resolution.step_ms
