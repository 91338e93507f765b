"""What a chart shows beside its lines: flagged periods, and limits that its values come near."""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from tmon.pages.corrections import Flag
from tmon.pages.points import Line

NEAR = 0.5  # of what the values span: drawn for a limit, they still fill half of the chart


class Limits(NamedTuple):
    """What a sensor's values should stay within, and for how long they may not."""

    sensor: int
    below: float | None
    above: float | None
    for_s: int
    hysteresis: float


class Level(NamedTuple):
    """A limit as a line across a chart; ``place`` is that of its sensor's own line."""

    place: int
    side: str  # below or above
    value: float


class Marks(NamedTuple):
    """Flagged periods, each with its sensor's place, and limits."""

    flags: Sequence[tuple[int, Flag]] = ()
    levels: Sequence[Level] = ()

    def in_fahrenheit(self) -> "Marks":
        levels = [one._replace(value=one.value * 9 / 5 + 32) for one in self.levels]
        return self._replace(levels=levels)


def limits_of(conn: sqlite3.Connection, sensors: Iterable[int]) -> dict[int, Limits]:
    """Each sensor's limits, where it has any."""
    found = conn.execute(
        "select sensor, below, above, for_s, hysteresis from limits"
        " where sensor in (select value from json_each(?))",
        [json.dumps([*sensors])],
    )
    return {row["sensor"]: Limits(*row) for row in found}


def extent(lines: Iterable[Line]) -> tuple[float, float] | None:
    """The lowest and the highest of what lines show."""
    values = [value for line in lines for point in line.points for value in point[1:4]]
    return (min(values), max(values)) if values else None


def marks(chart: Sequence[Line], flags: Iterable[Flag], limits: Mapping[int, Limits]) -> Marks:
    """What belongs on a chart."""
    places = {line.sensor.id: place for place, line in enumerate(chart)}
    there = [(places[flag.sensor], flag) for flag in flags if flag.sensor in places]
    return Marks(there, _near(_levels(places, limits), extent(chart)))


def _levels(places: Mapping[int, int], limits: Mapping[int, Limits]) -> list[Level]:
    return [
        Level(place, side, value)
        for sensor, place in places.items()
        if sensor in limits
        for side, value in (("below", limits[sensor].below), ("above", limits[sensor].above))
        if value is not None
    ]


def _near(levels: Sequence[Level], shown: tuple[float, float] | None) -> list[Level]:
    """Those that don't squash what is shown; all values being one, half a unit off at most."""
    if shown is None:
        return []
    low, high = shown
    room = NEAR * ((high - low) or 1)
    return [one for one in levels if low - room <= one.value <= high + room]
