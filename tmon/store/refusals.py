"""Why a reading is refused that is good by itself: what only the database can tell."""

from datetime import UTC, datetime

from sqlite_utils import Database

from tmon.core.reading import Reading, Refusal
from tmon.core.units import POWER_ON_C, check_value
from tmon.store.sensors import Sensor

SUDDEN_C = 15.0  # so far no true temperature gets …
SUDDEN_MS = 15 * 60 * 1000  # … in less than this without a reading on its way


def check_unit(reading: Reading, sensor: Sensor) -> None:
    """Whether a reading in another unit than its sensor, or in none, can be stored.

    Raises:
        Refusal: it names another unit, or its value can't be in the sensor's.
    """
    if reading.unit is None:
        check_value(reading.value, sensor.unit)
        return
    raise Refusal(
        "unit_mismatch",
        f"{reading.sensor} is in {sensor.unit or 'no unit'} since its first reading, "
        f"not in {reading.unit}; send {sensor.unit or 'none'}, or use another sensor's name",
    )


def check_power_on(db: Database, sensor: int, measured_ms: int) -> None:
    """Whether 85.0 °C can be what a sensor measured, rather than what a DS18B20 begins with.

    Args:
        db: where all other readings of that time are stored.
        sensor: its number.
        measured_ms: when, Unix milliseconds.

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


def conflict(reading: Reading, there: float) -> Refusal:
    """Another value is ``there`` at that time."""
    return Refusal(
        "conflict",
        f"{reading.sensor} has value {there!r} at that time already; readings are never changed",
    )


def pruned(reading: Reading, sensor: Sensor) -> Refusal:
    """It is from before the sensor's horizon."""
    kept_from = datetime.fromtimestamp(sensor.kept_from_ms // 1000, UTC)
    return Refusal(
        "pruned",
        f"{reading.sensor} keeps no single readings from before {kept_from:%Y-%m-%dT%H:%MZ}, only "
        "their hours, in which this one may be counted already",
    )
