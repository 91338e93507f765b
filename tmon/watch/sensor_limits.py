"""The limits that a sensor's values should stay within."""

import math
from typing import Any, NamedTuple

from sqlite_utils import Database

from tmon.core import humanize
from tmon.core.errors import OutOfRange, TmonError
from tmon.core.units import ANY_UNIT, UNITS
from tmon.db.connect import transaction
from tmon.db.lookup import Sensor


class NoLimit(TmonError):
    """The sensor has no limit, and none was given."""


class LimitChange(NamedTuple):
    """A limit, or a change of one: what is None stays as it was."""

    below: float | None = None
    above: float | None = None
    for_s: int | None = None
    hysteresis: float | None = None


def set_limit(db: Database, sensor: Sensor, change: LimitChange, now_ms: int) -> None:
    """Set or change a sensor's limit; it applies to readings from now on.

    Raises:
        NoLimit: it has none, and neither below nor above is given.
        OutOfRange: below and above cross, or a value is impossible in its unit.
    """
    with transaction(db):
        query = "select below, above, for_s, hysteresis from limits where sensor = ?"
        row = db.execute(query, [sensor.id]).fetchone()
        present = LimitChange(*row) if row else LimitChange(for_s=0, hysteresis=0.0)
        given = {name: value for name, value in change._asdict().items() if value is not None}
        limit = present._replace(**given)
        _check(sensor, limit)
        if limit == present:
            return
        db.execute(
            "insert into limits (sensor, below, above, for_s, hysteresis, created_ms)"
            " values (?, ?, ?, ?, ?, ?) on conflict (sensor) do update set"
            " below = excluded.below, above = excluded.above, for_s = excluded.for_s,"
            " hysteresis = excluded.hysteresis, created_ms = excluded.created_ms",
            [sensor.id, *limit, now_ms],
        )


def remove(db: Database, sensor: Sensor) -> None:
    """Remove a sensor's limit.

    Raises:
        NoLimit: it has none.
    """
    with transaction(db):
        if not db.execute("delete from limits where sensor = ?", [sensor.id]).rowcount:
            raise NoLimit(f"{sensor.node}/{sensor.name} has no limit")


def listed(db: Database) -> list[dict[str, Any]]:
    """All limits, by node and sensor."""
    return list(
        db.query("""
            select node, name as sensor, below, above, unit, for_s, hysteresis
            from limits join sensors on sensors.id = limits.sensor order by node, name
        """)
    )


def _check(sensor: Sensor, limit: LimitChange) -> None:
    where, hysteresis = f"{sensor.node}/{sensor.name}", limit.hysteresis or 0.0
    below, above = limit.below, limit.above
    if below is None and above is None:
        raise NoLimit(f"{where} has no limit yet; say --above, --below or both")
    if not (math.isfinite(hysteresis) and hysteresis >= 0):
        raise OutOfRange(f"--hysteresis must be 0 or more, not {hysteresis:g}")
    unit = UNITS.get(sensor.unit, ANY_UNIT) if sensor.unit else ANY_UNIT
    for flag, bound, back in (("--below", below, hysteresis), ("--above", above, -hysteresis)):
        if bound is not None and not (
            unit.lowest <= bound <= unit.highest and unit.lowest <= bound + back <= unit.highest
        ):
            within = f"{unit.lowest:g} to {humanize.value(unit.highest, sensor.unit)}"
            raise OutOfRange(f"{flag} of {where} must be {within}, with its hysteresis too")
    if below is not None and above is not None and not below + hysteresis < above - hysteresis:
        raise OutOfRange(
            f"--below {below:g} and --above {above:g} leave nothing between them"
            f" with a hysteresis of {hysteresis:g}"
        )
