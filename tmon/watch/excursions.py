"""When a sensor's values were beyond a limit: found in its readings, by way of its hours.

The values are the clean ones: corrected, and without bad periods.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sqlite_utils import Database

from tmon.core.time import HOUR_MS


class Side(NamedTuple):
    """Above or below, in SQL: what is beyond, and the hour's columns that tell."""

    beyond: str
    within: str
    farthest: str
    nearest: str


ABOVE = Side(">", "<=", "max", "min")
BELOW = Side("<", ">=", "min", "max")


class Tables(NamedTuple):
    """Where a sensor's values are read."""

    readings: str
    hourly: str


RAW = Tables("readings", "hourly")
CLEAN = Tables("readings_clean", "hourly_clean")  # the same where nothing is corrected, but slower


class Rule(NamedTuple):
    """One side of a sensor's limit: an excursion begins beyond ``bound``, and ends at ``back``."""

    tables: Tables

    sensor: int
    side: Side
    bound: float
    back: float
    since_ms: int
    until_ms: int  # later readings are from a clock that was ahead


class Excursion(NamedTuple):
    """From the first reading beyond to the first one back; None while it goes on."""

    from_ms: int
    to_ms: int | None
    extreme: float

    def ends_after(self, at_ms: int | None) -> bool:
        """Whether it goes on, or went on, after an instant."""
        return at_ms is not None and (self.to_ms is None or self.to_ms > at_ms)


def excursions(db: Database, rule: Rule, from_ms: int) -> Iterator[Excursion]:
    """Those that weren't over at ``from_ms``, in their order.

    One that was going on when the rule was made begins then.
    """
    from_ms = max(from_ms, rule.since_ms)
    begun_ms = _begun_before(db, rule, from_ms)
    first_ms = begun_ms if begun_ms is not None else _first_beyond(db, rule, from_ms, None)
    if first_ms is None:
        return
    extreme = _standing(db, rule, first_ms) if begun_ms is not None else None
    yield from _cut(rule, _readings(db, rule, first_ms), first_ms, extreme)


def _cut(
    rule: Rule, readings: Iterable[tuple[int, float]], from_ms: int, extreme: float | None
) -> Iterator[Excursion]:
    """Cut readings into excursions; ``extreme`` is that of one that began at ``from_ms``."""
    sign = 1 if rule.side is ABOVE else -1
    bound, back = sign * rule.bound, sign * rule.back
    farthest = None if extreme is None else sign * extreme
    for measured_ms, value in readings:
        far = sign * value
        if farthest is None:
            if far > bound:
                from_ms, farthest = measured_ms, far
        elif far <= back:
            yield Excursion(from_ms, measured_ms, sign * farthest)
            farthest = None
        else:
            farthest = max(farthest, far)
    if farthest is not None:
        yield Excursion(from_ms, None, sign * farthest)


def _begun_before(db: Database, rule: Rule, at_ms: int) -> int | None:
    """When the excursion began that goes on at ``at_ms``, or None."""
    last_back_ms = _last_back(db, rule, at_ms)
    if last_back_ms is not None:
        return _first_beyond(db, rule, last_back_ms, at_ms)
    standing = _standing(db, rule, rule.since_ms)
    if standing is not None and _is_beyond(rule, standing):
        return rule.since_ms
    return _first_beyond(db, rule, rule.since_ms, at_ms)


def _last_back(db: Database, rule: Rule, before_ms: int) -> int | None:
    """The newest reading within, before an instant and since the rule was made."""
    side, tables = rule.side, rule.tables
    hours = db.execute(
        f"select hour_ms from {tables.hourly} where sensor = ? and hour_ms >= ? and hour_ms < ?"
        f" and {side.nearest} {side.within} ? order by hour_ms desc",
        [rule.sensor, _hour(rule.since_ms), before_ms, rule.back],
    )
    query = (
        f"select measured_ms from {tables.readings} where sensor = ? and measured_ms >= ?"
        f" and measured_ms < ? and value {side.within} ? order by measured_ms desc limit 1"
    )
    for (hour_ms,) in hours:
        span = max(hour_ms, rule.since_ms), min(hour_ms + HOUR_MS, before_ms)
        row = db.execute(query, [rule.sensor, *span, rule.back]).fetchone()
        if row:
            return int(row[0])
    return None


def _first_beyond(db: Database, rule: Rule, from_ms: int, before_ms: int | None) -> int | None:
    """The first reading beyond, in a span."""
    side, tables = rule.side, rule.tables
    end_ms = rule.until_ms + 1 if before_ms is None else before_ms
    hours = db.execute(
        f"select hour_ms from {tables.hourly} where sensor = ? and hour_ms >= ? and hour_ms < ?"
        f" and {side.farthest} {side.beyond} ? order by hour_ms",
        [rule.sensor, _hour(from_ms), end_ms, rule.bound],
    )
    query = (
        f"select measured_ms from {tables.readings} where sensor = ? and measured_ms >= ?"
        f" and measured_ms < ? and value {side.beyond} ? order by measured_ms limit 1"
    )
    for (hour_ms,) in hours:
        span = max(hour_ms, from_ms), min(hour_ms + HOUR_MS, end_ms)
        row = db.execute(query, [rule.sensor, *span, rule.bound]).fetchone()
        if row:
            return int(row[0])
    return None


def _standing(db: Database, rule: Rule, at_ms: int) -> float | None:
    """The value at an instant: it stands until the next reading."""
    row = db.execute(
        f"select value from {rule.tables.readings} where sensor = ? and measured_ms <= ?"
        " order by measured_ms desc limit 1",
        [rule.sensor, at_ms],
    ).fetchone()
    return None if row is None else float(row[0])


def _readings(db: Database, rule: Rule, from_ms: int) -> Iterator[tuple[int, float]]:
    return iter(
        db.execute(
            f"select measured_ms, value from {rule.tables.readings}"
            " where sensor = ? and measured_ms >= ? and measured_ms <= ? order by measured_ms",
            [rule.sensor, from_ms, rule.until_ms],
        )
    )


def _is_beyond(rule: Rule, value: float) -> bool:
    return value > rule.bound if rule.side is ABOVE else value < rule.bound


def _hour(ms: int) -> int:
    return ms // HOUR_MS * HOUR_MS
