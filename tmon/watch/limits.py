"""What a sensor's values should stay within."""

import math
from typing import Any, NamedTuple

from sqlite_utils import Database

from tmon.core import humanize
from tmon.core.errors import OutOfRange, TmonError
from tmon.core.units import ANY_UNIT, UNITS
from tmon.db.connect import transaction
from tmon.db.lookup import Sensor


class NoLimit(TmonError):
    """A sensor has none, and none was given."""


class Given(NamedTuple):
    """What was said of a limit; None: as it was."""

    below: float | None = None
    above: float | None = None
    for_s: int | None = None
    hysteresis: float | None = None


def set_limit(db: Database, sensor: Sensor, given: Given, now_ms: int) -> None:
    """Set a sensor's limit; what isn't given stays, or is 0 where there was none.

    It counts from now on: values that the former limit allowed are not told afterwards.

    Raises:
        NoLimit: it had none, and neither below nor above is given.
        OutOfRange: limits that cross, or that its unit can't reach.
    """
    with transaction(db):
        present = _present(db, sensor)
        limit = _checked(sensor, _merged(present, given))
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
    """Take a sensor's limit away.

    Raises:
        NoLimit: it had none.
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


def _present(db: Database, sensor: Sensor) -> Given:
    query = "select below, above, for_s, hysteresis from limits where sensor = ?"
    row = db.execute(query, [sensor.id]).fetchone()
    return Given(*row) if row else Given(for_s=0, hysteresis=0.0)


def _merged(present: Given, given: Given) -> Given:
    return present._replace(**{k: v for k, v in given._asdict().items() if v is not None})


def _checked(sensor: Sensor, limit: Given) -> Given:
    where, hysteresis = f"{sensor.node}/{sensor.name}", limit.hysteresis or 0.0
    if limit.below is None and limit.above is None:
        raise NoLimit(f"{where} has no limit yet; say --above, --below or both")
    if not (math.isfinite(hysteresis) and hysteresis >= 0):
        raise OutOfRange(f"--hysteresis must be 0 or more, not {hysteresis:g}")
    unit = UNITS.get(sensor.unit, ANY_UNIT) if sensor.unit else ANY_UNIT
    for flag, bound, back in (
        ("--below", limit.below, hysteresis),
        ("--above", limit.above, -hysteresis),
    ):
        if bound is not None and not (
            unit.lowest <= bound <= unit.highest and unit.lowest <= bound + back <= unit.highest
        ):
            within = f"{unit.lowest:g} to {humanize.value(unit.highest, sensor.unit)}"
            raise OutOfRange(f"{flag} of {where} must be {within}, with its hysteresis too")
    _refuse_crossed(limit, hysteresis)
    return limit


def _refuse_crossed(limit: Given, hysteresis: float) -> None:
    if limit.below is None or limit.above is None:
        return
    if not limit.below + hysteresis < limit.above - hysteresis:
        raise OutOfRange(
            f"--below {limit.below:g} and --above {limit.above:g} leave nothing between them"
            f" with a hysteresis of {hysteresis:g}"
        )
