"""Calibrations and flags that apply to the values on a page."""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tmon.core.languages import gettext
from tmon.core.time import FIRST_MS, LAST_MS
from tmon.pages.spans import BadSpan, Span

MAX_FLAGS = 100  # on one page, the newest

# A calibration is valid until the sensor's next one.
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
    """From an instant on, a sensor's values are value * scale + offset."""

    sensor: int
    from_ms: int
    scale: float
    offset: float
    reason: str | None

    def formula(self, unit: str | None) -> str:
        """Scale and offset, such as ``+ 0.5 °C``."""
        scale = f"\N{MULTIPLICATION SIGN} {self.scale:g}" if self.scale != 1 else ""
        scale = scale.replace("-", "\N{MINUS SIGN}")
        sign = "\N{MINUS SIGN}" if self.offset < 0 else "+"
        space = " " if scale else ""
        offset = f"{sign}{space}{abs(self.offset):g} {unit or ''}" if self.offset else ""
        return f"{scale} {offset}".strip() or gettext("as measured")


class Flag(NamedTuple):
    """A period of a sensor's readings that are known to be wrong."""

    id: int
    sensor: int
    from_ms: int
    to_ms: int
    reason: str


class Corrections(NamedTuple):
    """The corrections of a page's values; ``raw``: the page shows values without them."""

    raw: bool
    calibrations: Sequence[Calibration]
    flags: Sequence[Flag]

    @property
    def sensors(self) -> frozenset[int]:
        """The sensors that have any."""
        calibrated = {one.sensor for one in self.calibrations}
        return frozenset(calibrated | {one.sensor for one in self.flags})


def wants_raw(parameters: Mapping[str, str]) -> bool:
    """Whether an address asks for values without corrections.

    Raises:
        BadSpan: ``values`` is neither clean nor raw.
    """
    values = parameters.get("values", "clean")
    if values not in {"clean", "raw"}:
        raise BadSpan(gettext("values must be clean or raw"))
    return values == "raw"


def load_corrections(
    connection: sqlite3.Connection,
    sensors: Iterable[int],
    span: Span,
    last_ms: int | None,
    *,
    raw: bool,
) -> Corrections:
    """The corrections that apply to some time in a span, or to the newest reading."""
    parameters = {
        "sensors": json.dumps([*sensors]),
        "from_ms": span.start_ms,
        "to_ms": span.end_ms,
        "last_ms": last_ms,
        "ever_ms": LAST_MS + 1,
        "most": MAX_FLAGS,
    }
    calibrations = [Calibration(*row) for row in connection.execute(_CALIBRATIONS, parameters)]
    flags = [Flag(*row) for row in connection.execute(_FLAGS, parameters)]
    return Corrections(raw, calibrations, flags)


def corrected_since(
    connection: sqlite3.Connection, newest_ms: Mapping[int, int], from_ms: int, now_ms: int
) -> list[int]:
    """The sensors with corrections of their newest reading or of any since ``from_ms``.

    ``newest_ms`` has the time of each sensor's newest reading.
    """
    calibrated = connection.execute(
        "select distinct sensor from calibrations where from_ms <= ?", [now_ms]
    ).fetchall()
    flagged = connection.execute("select sensor, max(to_ms) from flags group by sensor").fetchall()
    found = {sensor for (sensor,) in calibrated}
    found |= {
        sensor
        for sensor, to_ms in flagged
        if sensor in newest_ms and to_ms > min(from_ms, newest_ms[sensor])
    }
    return sorted(found & newest_ms.keys())


def template_context(
    corrections: Corrections, sensors: Mapping[int, tuple[str, str | None]]
) -> dict[str, Any]:
    """Calibrations as formulas and flags by sensor; ``sensors`` has their names and units."""
    return {
        "calibrations": [
            {
                "name": sensors[one.sensor][0],
                "formula": one.formula(sensors[one.sensor][1]),
                "since_ms": one.from_ms if one.from_ms > FIRST_MS else None,
                "reason": one.reason,
            }
            for one in corrections.calibrations
        ],
        "flags": [(sensors[one.sensor][0], one) for one in corrections.flags],
    }
