"""What a chart shows beside its lines: flagged periods, limits close to the values, marks."""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from tmon.pages.corrections import Flag
from tmon.pages.marks import Mark
from tmon.pages.points import Line
from tmon.pages.value_range import FREE, ValueRange

MAX_DISTANCE = 0.5  # of the values' range: with a limit that far away they fill half the chart


class Limits(NamedTuple):
    """A sensor's limits, and for how long its values may be beyond them."""

    sensor: int
    below: float | None
    above: float | None
    for_s: int
    hysteresis: float


class LimitLine(NamedTuple):
    """A limit as a horizontal line; ``place`` is the index of its sensor's line in the chart."""

    place: int
    side: str  # below or above
    value: float


class Annotations(NamedTuple):
    """Flagged periods, each with the index of its sensor's line; limits; and marks.

    ``fixed`` is the range of the axis, where the address has one.
    """

    flags: Sequence[tuple[int, Flag]] = ()
    limits: Sequence[LimitLine] = ()
    marks: Sequence[Mark] = ()
    fixed: ValueRange = FREE

    def in_fahrenheit(self) -> "Annotations":
        return self._replace(
            limits=[one._replace(value=one.value * 9 / 5 + 32) for one in self.limits],
            fixed=self.fixed.in_fahrenheit(),
        )


def load_limits(connection: sqlite3.Connection, sensors: Iterable[int]) -> dict[int, Limits]:
    """The limits of those sensors that have any."""
    rows = connection.execute(
        "select sensor, below, above, for_s, hysteresis from limits"
        " where sensor in (select value from json_each(?))",
        [json.dumps([*sensors])],
    )
    return {row["sensor"]: Limits(*row) for row in rows}


def value_range(lines: Iterable[Line]) -> tuple[float, float] | None:
    """The lowest and highest value of some lines."""
    values = [value for line in lines for point in line.drawn for value in point[1:4]]
    return (min(values), max(values)) if values else None


def annotate(
    chart: Sequence[Line],
    flags: Iterable[Flag],
    limits: Mapping[int, Limits],
    marks: Iterable[Mark] = (),
    fixed: ValueRange = FREE,
) -> Annotations:
    """The flags and marks of a chart's sensors, and those limits that don't squash its lines.

    A rate has no limits. ``fixed`` is the range of the axis, in the sensors' unit.
    """
    places = {line.sensor.id: place for place, line in enumerate(chart)}
    flagged = [(places[flag.sensor], flag) for flag in flags if flag.sensor in places]
    marked = [mark for mark in marks if not mark.sensors.isdisjoint(places)]
    shown = value_range(chart)
    if shown is None:
        return Annotations(flagged, (), marked, fixed)
    low, high = shown
    margin = MAX_DISTANCE * ((high - low) or 1)
    near = [
        LimitLine(place, side, value)
        for sensor, place in places.items()
        if sensor in limits and not chart[place].sensor.rate
        for side, value in (("below", limits[sensor].below), ("above", limits[sensor].above))
        if value is not None
        and fixed.holds(value)
        and (fixed != FREE or low - margin <= value <= high + margin)
    ]
    return Annotations(flagged, near, marked, fixed)
