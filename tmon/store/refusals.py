"""Refusals of valid readings that only the database can decide."""

from datetime import UTC, datetime

from sqlite_utils import Database

from tmon.core.reading import Reading, Refusal
from tmon.core.units import POWER_ON_C, check_value
from tmon.store.sensors import Sensor

# No true temperature changes by so much in so short a time without a reading in between.
SUDDEN_C = 15.0
SUDDEN_MS = 15 * 60 * 1000


def check_unit(reading: Reading, sensor: Sensor) -> None:
    """Check a reading whose unit isn't its sensor's.

    Raises:
        Refusal: it names another unit; or it names none, and the sensor's can't have its value.
    """
    if not reading.unit:
        check_value(reading.value, sensor.unit)
        return
    if not sensor.unit:
        raise Refusal(
            "unit_mismatch",
            f"{reading.sensor} has no unit since its first reading, and this one is in "
            f"{reading.unit}; `tmon sensor set NODE {reading.sensor} --unit {reading.unit}` gives "
            "it that unit, or use another sensor's name",
        )
    raise Refusal(
        "unit_mismatch",
        f"{reading.sensor} is in {sensor.unit} since its first reading, "
        f"not in {reading.unit}; send {sensor.unit}, or use another sensor's name",
    )


def check_power_on(db: Database, sensor: int, measured_ms: int) -> None:
    """Check that 85.0 °C was measured, and isn't a DS18B20's value after power-on.

    Args:
        db: has all other readings of that time already.
        sensor: its id.
        measured_ms: Unix milliseconds.

    Raises:
        Refusal: the reading before it is far away and not long ago.
    """
    before = db.execute(
        "select measured_ms, value from readings where sensor = ? and measured_ms <= ?"
        " order by measured_ms desc limit 1",
        [sensor, measured_ms],
    ).fetchone()
    if before is None:
        return
    before_ms, value = before
    if measured_ms - before_ms < SUDDEN_MS and abs(value - POWER_ON_C) > SUDDEN_C:
        raise Refusal(
            "implausible_value",
            f"value 85 °C soon after {value:g} °C is what a DS18B20 answers when its power "
            "failed; `tmon sensor set --allow-85` lets it in where it is true",
        )


def conflict(reading: Reading, stored: float) -> Refusal:
    """The sensor has another value at that time."""
    return Refusal(
        "conflict",
        f"{reading.sensor} has value {stored!r} at that time already; readings are never changed",
    )


def pruned(reading: Reading, sensor: Sensor) -> Refusal:
    """The reading is older than what ``tmon prune`` has kept of the sensor."""
    kept_from = datetime.fromtimestamp(sensor.kept_from_ms // 1000, UTC)
    return Refusal(
        "pruned",
        f"{reading.sensor} keeps no single readings from before {kept_from:%Y-%m-%dT%H:%MZ}, only "
        "their hours, in which this one may be counted already",
    )
