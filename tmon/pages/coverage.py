"""The share of a span's readings that a sensor's own interval would have given."""

import sqlite3
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean, median_low

from tmon.core.time import DAY_MS, HOUR_MS
from tmon.pages.points import HOURLY, RAW, RESOLUTIONS, Sensor, load_line
from tmon.pages.spans import Span

MAX_STEPS = 2000  # beyond it, hours are counted instead of readings, and days instead of hours
NEIGHBOURS = 5  # steps before and after one from which its usual interval is found
USUAL = (0.8, 1.25)  # a step with so many times the usual readings is a usual one

_DAILY = next(one for one in RESOLUTIONS if one.step_ms == DAY_MS)


def load_coverage(
    connection: sqlite3.Connection, sensor: Sensor, span: Span, *, n: int, pruned: bool
) -> float | None:
    """From 0 to 1; None where a sensor has too few readings to have an interval.

    Args:
        connection: to the database.
        sensor: whose readings are counted, as they were received.
        span: up to now at most.
        n: the number of readings in the span.
        pruned: whether only hours are left of some time in it.
    """
    as_received = sensor._replace(clean=False)
    if n <= MAX_STEPS and not pruned:
        points = load_line(connection, as_received, span, RAW).points
        starts = [(point[0], 1) for point in points]
        return coverage(starts, span, step_ms=0)
    days = span.length_ms / HOUR_MS > MAX_STEPS
    resolution = _DAILY if days else HOURLY
    points = load_line(connection, as_received, span, resolution).points
    return coverage([(point[0], int(point[4])) for point in points], span, resolution.step_ms)


def coverage(starts: Sequence[tuple[float, int]], span: Span, step_ms: int) -> float | None:
    """The readings of steps in relation to the usual ones of the steps around each.

    So it stays right when the interval changes. ``starts`` are readings (``step_ms`` is 0), or
    hours or days with their number of readings.
    """
    if len(starts) + step_ms < 2:
        return None
    steps = [
        (max(start_ms, span.start_ms), next_ms, n)
        for (start_ms, n), (next_ms, _) in pairwise([*starts, (span.end_ms, 0)])
        if max(start_ms, span.start_ms) < next_ms
    ]
    rates = [n / (next_ms - start_ms) for start_ms, next_ms, n in steps]
    got = expected = 0.0
    for place, (start_ms, next_ms, n) in enumerate(steps):
        usual = _usual_rate(rates[max(0, place - NEIGHBOURS) : place + NEIGHBOURS + 1])
        due = usual * (next_ms - start_ms)
        if place == 0:
            expected += int(usual * (start_ms - span.start_ms))
        if not step_ms:
            due = max(1, round(due) if place < len(steps) - 1 else int(due))
        got += n
        expected += due
    return min(1.0, got / expected) if expected else None


def _usual_rate(rates: Sequence[float]) -> float:
    """The mean of those rates that are close to the median."""
    middle = median_low(rates)
    low, high = (middle * factor for factor in USUAL)
    return fmean(rate for rate in rates if low <= rate <= high)
