"""A sensor's year in numbers: its hours, its days, its typical day and its records."""

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from statistics import quantiles
from typing import NamedTuple

from tmon.core.languages import N_, gettext
from tmon.core.time import DAY_MS, HOUR_MS, LAST_MS, as_datetime, as_ms
from tmon.pages.annotations import Limits, load_limits
from tmon.pages.charts import find_sensor
from tmon.pages.corrections import load_corrections, wants_raw
from tmon.pages.points import HOURLY, Line, Sensor, load_line, reading_range
from tmon.pages.spans import BadSpan, ReadingRange, Span
from tmon.pages.switches import find_switches
from tmon.pages.value_range import parse_number

RECORDS = (
    N_("Lowest reading"),
    N_("Highest reading"),
    N_("Lowest day, mean"),
    N_("Highest day, mean"),
)
TEMPERATURE_RECORDS = (
    N_("Coldest reading"),
    N_("Warmest reading"),
    N_("Coldest day, mean"),
    N_("Warmest day, mean"),
)
MIN_DAYS = 5  # with fewer values of an hour, a tenth of them means nothing


class Hour(NamedTuple):
    """An hour's or a day's mean, lowest and highest value, and its number of readings."""

    start_ms: int
    mean: float
    low: float
    high: float
    n: int


class Year(NamedTuple):
    """A sensor's year in UTC."""

    sensor: Sensor
    number: int
    span: Span
    readings: ReadingRange  # of all years
    hours: Sequence[Hour]
    raw: bool  # without corrections
    limits: Limits | None

    @property
    def days(self) -> int:
        return self.span.length_ms // DAY_MS

    def in_fahrenheit(self) -> "Year":
        """The same year, of a sensor in °C."""
        hours = [
            hour._replace(
                mean=_fahrenheit(hour.mean),
                low=_fahrenheit(hour.low),
                high=_fahrenheit(hour.high),
            )
            for hour in self.hours
        ]
        limits = self.limits and self.limits._replace(
            below=None if self.limits.below is None else _fahrenheit(self.limits.below),
            above=None if self.limits.above is None else _fahrenheit(self.limits.above),
        )
        sensor = self.sensor._replace(unit="°F")
        return self._replace(sensor=sensor, hours=hours, limits=limits)


class Record(NamedTuple):
    """The extreme of a year, and the span in which to see it."""

    name: str  # in English
    value: float | None  # None for the length of a period
    span: Span
    threshold: float | None = None  # of a period, what all its hours are beyond


def load_year(
    address: str, connection: sqlite3.Connection, parameters: Mapping[str, str], at_ms: int
) -> Year:
    """Read a year of ``node/sensor``; by default the one of its newest reading.

    Raises:
        NotFoundByName: there is no such sensor.
        BadSpan: ``year`` or ``values`` is not valid.
    """
    sensor = find_sensor(connection, address)
    readings = reading_range(connection, sensor)
    newest_ms = at_ms if readings.last_ms is None else readings.last_ms
    number = _parse_year(parameters.get("year") or f"{as_datetime(newest_ms).year:04}")
    end_ms = LAST_MS + 1 if number == 9999 else _first_ms(number + 1)
    span = Span(_first_ms(number), end_ms)
    raw = wants_raw(parameters)
    corrections = load_corrections(connection, [sensor.id], span, None, raw=raw)
    sensor = sensor._replace(
        clean=not raw and bool(corrections.sensors),
        is_switch=sensor.id in find_switches(connection, [sensor.id]),
    )
    points = load_line(connection, sensor, span, HOURLY).points
    hours = [
        Hour(int(start_ms), mean, low, high, int(n)) for start_ms, mean, low, high, n in points
    ]
    limits = load_limits(connection, [sensor.id]).get(sensor.id)
    return Year(sensor, number, span, readings, hours, raw, limits)


def by_day(hours: Sequence[Hour]) -> list[Hour]:
    """The days of some hours; the mean is that of all readings, as in the view ``daily``."""
    days: dict[int, list[Hour]] = {}
    for hour in hours:
        days.setdefault(hour.start_ms // DAY_MS * DAY_MS, []).append(hour)
    return [
        Hour(
            start_ms,
            sum(hour.mean * hour.n for hour in group) / sum(hour.n for hour in group),
            min(hour.low for hour in group),
            max(hour.high for hour in group),
            sum(hour.n for hour in group),
        )
        for start_ms, group in days.items()
    ]


def typical_day(year: Year) -> Line:
    """The median of each hour of the day, between the values that a tenth is below and above."""
    of_hour: dict[int, list[float]] = {}
    for hour in year.hours:
        of_hour.setdefault(hour.start_ms % DAY_MS, []).append(hour.mean)
    points = []
    for at_ms, means in sorted(of_hour.items()):
        if len(means) >= MIN_DAYS:
            tenths = quantiles(means, n=10, method="inclusive")
            points.append((at_ms, tenths[4], tenths[0], tenths[8]))
    return Line(year.sensor, points, gap_ms=1.5 * HOUR_MS, half_step_ms=HOUR_MS / 2)


def thresholds(year: Year, parameters: Mapping[str, str]) -> tuple[float, float]:
    """Below and above which the longest periods are counted.

    By default the sensor's limits, or what a tenth of all hours is below and above.

    Raises:
        BadSpan: ``below`` or ``above`` is not a number.
    """
    means = [hour.mean for hour in year.hours]
    tenths = quantiles(means, n=10, method="inclusive") if len(means) > 1 else means * 9
    limits = (year.limits.below, year.limits.above) if year.limits else (None, None)
    found = []
    for name, limit, tenth in zip(("below", "above"), limits, (tenths[0], tenths[8]), strict=True):
        text = parameters.get(name)
        if text:
            found.append(parse_number(name, text))
        else:
            found.append(tenth if limit is None else limit)
    return found[0], found[1]


def records(year: Year, below: float, above: float) -> list[Record]:
    """The extremes of a year that has readings; a switch, which is on or off, has none."""
    if year.sensor.is_switch:
        return []
    lowest = min(year.hours, key=lambda hour: hour.low)
    highest = max(year.hours, key=lambda hour: hour.high)
    days = by_day(year.hours)
    low_day, high_day = (choose(days, key=lambda day: day.mean) for choose in (min, max))
    names = TEMPERATURE_RECORDS if year.sensor.unit in {"°C", "°F"} else RECORDS
    below_hours = [hour for hour in year.hours if hour.mean < below]
    above_hours = [hour for hour in year.hours if hour.mean > above]
    return [
        Record(names[0], lowest.low, _around(lowest.start_ms)),
        Record(names[1], highest.high, _around(highest.start_ms)),
        Record(names[2], low_day.mean, _around(low_day.start_ms)),
        Record(names[3], high_day.mean, _around(high_day.start_ms)),
        *_longest(N_("Longest below"), below, below_hours),
        *_longest(N_("Longest above"), above, above_hours),
    ]


def _longest(name: str, threshold: float, hours: Sequence[Hour]) -> list[Record]:
    """The longest run of hours, if there is any."""
    longest = max(_runs(hours), key=lambda span: span.length_ms, default=None)
    return [Record(name, None, longest, threshold)] if longest else []


def _runs(hours: Sequence[Hour]) -> Iterator[Span]:
    """The spans of hours that follow each other."""
    start_ms = None
    for place, hour in enumerate(hours):
        start_ms = hour.start_ms if start_ms is None else start_ms
        end_ms = hour.start_ms + HOUR_MS
        if place + 1 == len(hours) or hours[place + 1].start_ms != end_ms:
            yield Span(start_ms, end_ms)
            start_ms = None


def _around(at_ms: int) -> Span:
    """The day of an instant."""
    start_ms = at_ms // DAY_MS * DAY_MS
    return Span(start_ms, start_ms + DAY_MS)


def _fahrenheit(celsius: float) -> float:
    return celsius * 9 / 5 + 32


def _first_ms(year: int) -> int:
    return as_ms(datetime(year, 1, 1, tzinfo=UTC))


def _parse_year(text: str) -> int:
    if not re.fullmatch(r"\d{4}", text, re.ASCII) or text == "0000":
        raise BadSpan(gettext("year must be a year of four digits, such as 2025"))
    return int(text)
