"""What calibrations and flags do to what a page shows: found, and told in words."""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tmon.core.time import FIRST_MS, LAST_MS
from tmon.pages.spans import NoSuchSpan, Span

MOST_FLAGS = 100  # on one page, the newest; the table has them all

# Each is valid until the sensor's next.
_CALIBRATIONS = """
select sensor, from_ms, scale, offset, reason from (
    select *, lead(from_ms, 1, :ever_ms) over (partition by sensor order by from_ms) as until_ms
    from calibrations where sensor in (select value from json_each(:sensors))
)
where (from_ms < :to_ms and until_ms > :from_ms) or (from_ms <= :last_ms and until_ms > :last_ms)
order by sensor, from_ms
"""
_FLAGS = """
select id, sensor, from_ms, to_ms, reason from flags
where sensor in (select value from json_each(:sensors))
    and ((from_ms < :to_ms and to_ms > :from_ms) or (from_ms <= :last_ms and to_ms > :last_ms))
order by from_ms desc, id desc
limit :most
"""


class Calibration(NamedTuple):
    """A sensor's value * scale + offset, in its unit, from an instant on."""

    sensor: int
    from_ms: int
    scale: float
    offset: float
    reason: str | None

    def in_words(self, unit: str | None) -> str:
        """Scale and offset as signs and numbers, the offset in the sensor's unit."""
        scale = f"\N{MULTIPLICATION SIGN} {self.scale:g}" if self.scale != 1 else ""
        scale = scale.replace("-", "\N{MINUS SIGN}")
        sign = "\N{MINUS SIGN}" if self.offset < 0 else "+"
        space = " " if scale else ""
        offset = f"{sign}{space}{abs(self.offset):g} {unit or ''}" if self.offset else ""
        return f"{scale} {offset}".strip() or "as measured"


class Flag(NamedTuple):
    """A bad period of a sensor, from an instant up to another."""

    id: int
    sensor: int
    from_ms: int
    to_ms: int
    reason: str


class Corrections(NamedTuple):
    """What corrects a page's values; ``raw``: they are shown without."""

    raw: bool
    calibrations: Sequence[Calibration]
    flags: Sequence[Flag]

    @property
    def sensors(self) -> frozenset[int]:
        """The sensors whose values are others without."""
        calibrated = {one.sensor for one in self.calibrations}
        return frozenset(calibrated | {one.sensor for one in self.flags})


def asks_for_raw(args: Mapping[str, str]) -> bool:
    """Whether an address asks for values without corrections.

    Raises:
        NoSuchSpan: it asks for some that there are not.
    """
    values = args.get("values", "clean")
    if values not in {"clean", "raw"}:
        raise NoSuchSpan("values must be clean or raw")
    return values == "raw"


def find(
    conn: sqlite3.Connection, sensors: Iterable[int], span: Span, last_ms: int | None, *, raw: bool
) -> Corrections:
    """What is valid somewhere in a span, or of the newest reading."""
    asked = {
        "sensors": json.dumps([*sensors]),
        "from_ms": span.start_ms,
        "to_ms": span.end_ms,
        "last_ms": last_ms,
        "ever_ms": LAST_MS + 1,
        "most": MOST_FLAGS,
    }
    calibrations = [Calibration(*row) for row in conn.execute(_CALIBRATIONS, asked)]
    return Corrections(raw, calibrations, [Flag(*row) for row in conn.execute(_FLAGS, asked)])


def lately(
    conn: sqlite3.Connection, newest_ms: Mapping[int, int], from_ms: int, at_ms: int
) -> list[int]:
    """The sensors, of those told with their newest reading, that something corrects.

    It corrects that reading, or some since ``from_ms``.
    """
    calibrated = conn.execute(
        "select distinct sensor from calibrations where from_ms <= ?", [at_ms]
    ).fetchall()
    flagged = conn.execute("select sensor, max(to_ms) from flags group by sensor").fetchall()
    found = {sensor for (sensor,) in calibrated}
    found |= {
        sensor
        for sensor, to_ms in flagged
        if sensor in newest_ms and to_ms > min(from_ms, newest_ms[sensor])
    }
    return sorted(found & newest_ms.keys())


def told(corrections: Corrections, units: Mapping[int, tuple[str, str | None]]) -> dict[str, Any]:
    """For a template: each calibration in words, each flag with its sensor's name."""
    return {
        "calibrations": [
            {
                "name": units[one.sensor][0],
                "words": one.in_words(units[one.sensor][1]),
                "since_ms": one.from_ms if one.from_ms > FIRST_MS else None,
                "reason": one.reason,
            }
            for one in corrections.calibrations
        ],
        "flags": [(units[one.sensor][0], one) for one in corrections.flags],
    }
