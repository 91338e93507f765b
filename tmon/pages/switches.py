"""Switches, such as a window's contact: 0 is off, and 1 is on until the next reading."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from tmon.pages.points import Line
from tmon.pages.spans import Span

WORDS = {0: "off", 1: "on"}
MAX_PERIODS = 50  # in a list, the newest


class Period(NamedTuple):
    """When a switch was on (Unix ms); ``to_ms`` is None if it is still on."""

    from_ms: int
    to_ms: int | None
    until_ms: int


class OnTime(NamedTuple):
    """How long a switch was on, and when, newest first."""

    total_s: float
    periods: Sequence[Period]


def find_switches(connection: sqlite3.Connection, sensors: Iterable[int]) -> frozenset[int]:
    """Those sensors that are switches."""
    rows = connection.execute(
        "select id from sensors where quantity = 'switch'"
        " and id in (select value from json_each(?))",
        [json.dumps([*sensors])],
    )
    return frozenset(number for (number,) in rows)


def is_on_off(line: Line) -> bool:
    """Whether the single readings of a line are 0 or 1, of a switch or of what looks like one."""
    values = {point[1] for point in line.points}
    if not line.stepped or line.sensor.unit not in {None, "1"}:
        return False
    if not values or not values <= {0.0, 1.0}:
        return False
    return line.sensor.is_switch or len(values) > 1


def without_gaps(line: Line) -> bool:
    """Whether most readings are changes: such a switch sends nothing while it stays as it is."""
    changed = [before[1] != after[1] for before, after in pairwise(line.points)]
    return sum(changed) * 2 > len(changed)


def load_held(
    connection: sqlite3.Connection, line: Line, span: Span, at_ms: int
) -> list[tuple[float, float]]:
    """What a line ``without_gaps`` is at the beginning of its span, and at its end or now."""
    suffix = "_clean" if line.sensor.clean else ""
    row = connection.execute(
        f"select value from readings{suffix} where sensor = ? and measured_ms < ?"
        " order by measured_ms desc limit 1",
        [line.sensor.id, span.start_ms],
    ).fetchone()
    first = [(span.start_ms, row[0])] if row else []
    last_ms, last = line.points[-1][:2]
    return [*first, (max(last_ms, min(span.end_ms, at_ms)), last)]


def on_time(line: Line, span: Span, at_ms: int) -> OnTime | None:
    """When a line that ``is_on_off`` was on in a span up to ``at_ms``; else None."""
    if not is_on_off(line):
        return None
    end_ms = min(span.end_ms, at_ms)
    points = [(int(at), value) for at, value, *_ in line.drawn]
    periods = [*_periods(points, line.gap_ms, end_ms, is_over=span.end_ms <= at_ms)]
    total_ms = sum(one.until_ms - one.from_ms for one in periods)
    return OnTime(total_ms / 1000, periods[::-1][:MAX_PERIODS])


def _periods(
    points: Sequence[tuple[int, float]], gap_ms: float, end_ms: int, *, is_over: bool
) -> Iterator[Period]:
    """Each time from an on to the next off, to a gap, or to the end."""
    from_ms = None
    ends = [*points[1:], (end_ms, None)]
    for (at_ms, value), (next_ms, next_value) in zip(points, ends, strict=True):
        if value != 1:
            continue
        from_ms = at_ms if from_ms is None else from_ms
        is_last = next_value is None
        if next_ms - at_ms > gap_ms:
            yield Period(from_ms, at_ms, at_ms)
        elif is_last:
            yield Period(from_ms, next_ms if is_over else None, next_ms)
        elif next_value == 0:
            yield Period(from_ms, next_ms, next_ms)
        else:
            continue
        from_ms = None
