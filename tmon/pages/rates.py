"""The rate of counters: how much they count in an hour or a day."""

import sqlite3
from collections.abc import Mapping, Sequence
from itertools import pairwise

from tmon.core.languages import gettext
from tmon.core.time import DAY_MS, HOUR_MS
from tmon.pages.points import HOURLY, RESOLUTIONS, Line, Resolution, Sensor, load_line
from tmon.pages.spans import BadSpan, Span

PER_MS = {"hour": HOUR_MS, "day": DAY_MS}
COUNTER = "_total"  # how the names of counters end
MAX_GAP_MS = 31 * DAY_MS  # over a longer one, nobody wants to know the mean


def is_counter(sensor: Sensor) -> bool:
    return sensor.name.endswith(COUNTER)


def parse_rate(parameters: Mapping[str, str]) -> str:
    """``hour`` or ``day``; empty if counters show what they count up to.

    Raises:
        BadSpan: ``rate`` is something else.
    """
    rate = parameters.get("rate", "")
    if rate and rate not in PER_MS:
        message = gettext("rate must be hour or day; without it counters show their values")
        raise BadSpan(message)
    return rate


def with_rate(sensor: Sensor, rate: str) -> Sensor:
    """A counter whose line is its rate, in a unit of its own; any other sensor as it is."""
    if not rate or not is_counter(sensor):
        return sensor
    return sensor._replace(unit=f"{sensor.unit or ''}/{rate[0]}", rate=rate)


def coarse_enough(resolution: Resolution, rate: str) -> Resolution:
    """The resolution, or hours or days where it is finer than what the rate is of."""
    needed = next(one for one in RESOLUTIONS if one.step_ms == PER_MS[rate])
    return max(resolution, needed, key=RESOLUTIONS.index)


def load_rate(
    connection: sqlite3.Connection, sensor: Sensor, span: Span, resolution: Resolution
) -> Line:
    """A counter's mean rate in each step of time."""
    step_ms = resolution.step_ms
    first_ms = span.start_ms // step_ms * step_ms
    hours = load_line(connection, sensor, Span(first_ms - MAX_GAP_MS, span.end_ms), HOURLY).points
    # The hour that isn't over has not counted all yet.
    over = [(int(at_ms), point[2]) for at_ms, *point in hours if at_ms + HOUR_MS <= span.end_ms]
    rates = _rates(over, step_ms)
    per_ms = PER_MS[sensor.rate]
    points = [(at_ms, rate * per_ms) for at_ms, rate in rates if at_ms >= first_ms]
    return Line(sensor, points, gap_ms=1.5 * step_ms, half_step_ms=step_ms / 2)


def _rates(hours: Sequence[tuple[int, float]], step_ms: int) -> list[tuple[int, float]]:
    """What was counted per millisecond in each step, from the highest count of each hour.

    A counter that fell was reset, and has counted from 0 again. What it counted in a gap is spread
    over the gap.
    """
    counted: dict[int, float] = {}
    covered_ms: dict[int, int] = {}
    for (before_ms, before), (hour_ms, count) in pairwise(hours):
        at_ms, end_ms = before_ms + HOUR_MS, hour_ms + HOUR_MS
        if end_ms - at_ms > MAX_GAP_MS:
            continue
        rate = (count - before if count >= before else max(count, 0)) / (end_ms - at_ms)
        while at_ms < end_ms:
            step = at_ms // step_ms * step_ms
            until_ms = min(step + step_ms, end_ms)
            counted[step] = counted.get(step, 0) + rate * (until_ms - at_ms)
            covered_ms[step] = covered_ms.get(step, 0) + until_ms - at_ms
            at_ms = until_ms
    return [(step, count / covered_ms[step]) for step, count in sorted(counted.items())]
