"""Excursions: the times at which a sensor's values were beyond a limit.

Hours are searched first, and then only the readings of the hours that matter.
"""

from collections.abc import Iterator
from typing import NamedTuple

from sqlite_utils import Database

from tmon.core.time import HOUR_MS


class Side(NamedTuple):
    """Above or below a limit, as operators and columns of SQL."""

    beyond: str
    within: str
    farthest: str  # column of an hour with the value that is farthest beyond
    nearest: str
    sign: int


ABOVE = Side(">", "<=", "max", "min", 1)
BELOW = Side("<", ">=", "min", "max", -1)


class Rule(NamedTuple):
    """One side of a sensor's limit."""

    sensor: int
    side: Side
    bound: float  # an excursion begins beyond it
    back: float  # and ends with a value at or within this
    since_ms: int  # when the limit was set
    until_ms: int  # later readings are ignored: they are from a clock that was ahead
    suffix: str  # of the tables: "_clean" if the sensor has corrections; slower

    def is_beyond(self, value: float) -> bool:
        return self.side.sign * value > self.side.sign * self.bound


class Excursion(NamedTuple):
    """From the first reading beyond the limit to the first one back; None while it lasts."""

    from_ms: int
    to_ms: int | None
    extreme: float


def excursions(db: Database, rule: Rule, from_ms: int) -> Iterator[Excursion]:
    """The excursions that hadn't ended at ``from_ms``, in order.

    One that lasted when the rule was made begins at that time.
    """
    from_ms = max(from_ms, rule.since_ms)
    began_ms = _began_before(db, rule, from_ms)
    extreme = None if began_ms is None else _value_at(db, rule, began_ms)
    if began_ms is None:
        began_ms = _find_reading(db, rule, from_ms, rule.until_ms + 1)
    if began_ms is None:
        return
    sign = rule.side.sign
    readings = db.execute(
        f"select measured_ms, value from readings{rule.suffix}"
        " where sensor = ? and measured_ms >= ? and measured_ms <= ? order by measured_ms",
        [rule.sensor, began_ms, rule.until_ms],
    )
    for measured_ms, value in readings:
        if extreme is None:
            if rule.is_beyond(value):
                began_ms, extreme = measured_ms, value
        elif sign * value <= sign * rule.back:
            yield Excursion(began_ms, measured_ms, extreme)
            extreme = None
        else:
            extreme = sign * max(sign * extreme, sign * value)
    if extreme is not None:
        yield Excursion(began_ms, None, extreme)


def _began_before(db: Database, rule: Rule, at_ms: int) -> int | None:
    """When the excursion began that lasts at ``at_ms``; None if there is none."""
    last_back_ms = _find_reading(db, rule, rule.since_ms, at_ms, back=True)
    if last_back_ms is not None:
        return _find_reading(db, rule, last_back_ms, at_ms)
    value = _value_at(db, rule, rule.since_ms)
    if value is not None and rule.is_beyond(value):
        return rule.since_ms
    return _find_reading(db, rule, rule.since_ms, at_ms)


def _find_reading(
    db: Database, rule: Rule, from_ms: int, before_ms: int, *, back: bool = False
) -> int | None:
    """The first reading of a span that is beyond the limit, or the last that is back."""
    column, condition, bound, order = rule.side.farthest, rule.side.beyond, rule.bound, "asc"
    if back:
        column, condition, bound, order = rule.side.nearest, rule.side.within, rule.back, "desc"
    hours = db.execute(
        f"select hour_ms from hourly{rule.suffix} where sensor = ? and hour_ms >= ?"
        f" and hour_ms < ? and {column} {condition} ? order by hour_ms {order}",
        [rule.sensor, from_ms // HOUR_MS * HOUR_MS, before_ms, bound],
    )
    query = (
        f"select measured_ms from readings{rule.suffix} where sensor = ? and measured_ms >= ?"
        f" and measured_ms < ? and value {condition} ? order by measured_ms {order} limit 1"
    )
    for (hour_ms,) in hours:
        span = max(hour_ms, from_ms), min(hour_ms + HOUR_MS, before_ms)
        row = db.execute(query, [rule.sensor, *span, bound]).fetchone()
        if row:
            return int(row[0])
    return None


def _value_at(db: Database, rule: Rule, at_ms: int) -> float | None:
    """The value at an instant: that of the last reading before or at it."""
    row = db.execute(
        f"select value from readings{rule.suffix} where sensor = ? and measured_ms <= ?"
        " order by measured_ms desc limit 1",
        [rule.sensor, at_ms],
    ).fetchone()
    return None if row is None else float(row[0])
