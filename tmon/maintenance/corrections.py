"""Calibrations and bad periods of a sensor: rows beside its readings, which stay as they are."""

import math
from typing import Any, NamedTuple

from sqlite_utils import Database

from tmon.core.errors import TmonError
from tmon.core.time import FIRST_MS, HOUR_MS, as_datetime
from tmon.db.connect import transaction
from tmon.db.lookup import Sensor

LARGEST = 1e12  # of a scale or an offset: what is larger was mistyped
LONGEST_REASON = 500  # characters: a page shows it whole


class InvalidCorrection(TmonError):
    """A calibration or a flag that can't be; nothing was changed."""


class NoSuchCorrection(TmonError):
    """There is no such calibration or flag to remove."""


class Calibration(NamedTuple):
    """value * scale + offset, in the sensor's unit, from an instant on (Unix ms)."""

    from_ms: int
    scale: float
    offset: float
    reason: str | None

    def __str__(self) -> str:
        reason = f" ({self.reason})" if self.reason else ""
        return f"value * {self.scale:g} + {self.offset:g}, from {told(self.from_ms)} on{reason}"


class Period(NamedTuple):
    """From an instant up to another, which isn't in it any more (Unix ms)."""

    from_ms: int
    to_ms: int
    reason: str


def told(instant_ms: int) -> str:
    """An instant as people write it, UTC."""
    if instant_ms == FIRST_MS:
        return "the beginning"
    at = as_datetime(instant_ms)
    exact = at.isoformat(timespec="milliseconds" if instant_ms % 1000 else "seconds")
    return exact.removesuffix("T00:00:00+00:00").replace("+00:00", "Z")


def calibrate(db: Database, sensor: Sensor, new: Calibration, now_ms: int) -> Calibration | None:
    """Enter a calibration.

    Returns:
        The one from the same instant on that it replaces, if there was one.

    Raises:
        InvalidCorrection: its numbers can't be, or it cuts an hour whose readings are gone.
    """
    _check_numbers(new)
    _check_reason(new.reason)
    with transaction(db):
        _check_uncut(db, sensor, new.from_ms)
        replaced = _calibration(db, sensor, new.from_ms)
        db.execute(
            "insert into calibrations (sensor, from_ms, scale, offset, reason, created_ms)"
            " values (?, ?, ?, ?, ?, ?) on conflict (sensor, from_ms) do update set"
            " scale = excluded.scale, offset = excluded.offset, reason = excluded.reason,"
            " created_ms = excluded.created_ms",
            [sensor.id, *new, now_ms],
        )
    return replaced


def remove_calibration(db: Database, sensor: Sensor, from_ms: int) -> Calibration:
    """Take back the calibration that is valid from an instant on, and return it.

    Raises:
        NoSuchCorrection: none is valid from just then on.
    """
    with transaction(db):
        found = _calibration(db, sensor, from_ms)
        if found is None:
            others = ", ".join(row["from"] for row in calibrations(db, sensor)) or "there is none"
            raise NoSuchCorrection(
                f"no calibration of {sensor.node} {sensor.name} is from {told(from_ms)} on"
                f" (from: {others})"
            )
        db.execute(
            "delete from calibrations where sensor = ? and from_ms = ?", [sensor.id, from_ms]
        )
    return found


def calibrations(db: Database, sensor: Sensor) -> list[dict[str, Any]]:
    """Those of a sensor in the order of time, each valid until the next."""
    found = db.query(
        "select from_ms, scale, offset, reason from calibrations where sensor = ? order by from_ms",
        [sensor.id],
    )
    return [{"from": told(row["from_ms"]), **row} for row in found]


def flag(db: Database, sensor: Sensor, period: Period, now_ms: int) -> int:
    """Enter a bad period, and return the flag's number.

    Raises:
        InvalidCorrection: it ends before it begins, has no reason, or cuts an hour whose
            readings are gone.
    """
    if period.from_ms >= period.to_ms:
        raise InvalidCorrection("a bad period has to begin before it ends: --from before --to")
    if not period.reason.strip():
        raise InvalidCorrection("a bad period needs a --reason: everybody is shown it")
    _check_reason(period.reason)
    with transaction(db):
        for boundary_ms in (period.from_ms, period.to_ms):
            _check_uncut(db, sensor, boundary_ms)
        [number] = db.execute(
            "insert into flags (sensor, from_ms, to_ms, reason, created_ms)"
            " values (?, ?, ?, ?, ?) returning id",
            [sensor.id, *period, now_ms],
        ).fetchone()
    return int(number)


def remove_flag(db: Database, sensor: Sensor, number: int) -> None:
    """Take back a bad period of the sensor.

    Raises:
        NoSuchCorrection: the sensor has none of that number.
    """
    with transaction(db):
        removed = db.execute(
            "delete from flags where id = ? and sensor = ? returning id", [number, sensor.id]
        ).fetchall()
    if not removed:
        raise NoSuchCorrection(f"{sensor.node} {sensor.name} has no flag {number}; see --list")


def flags(db: Database, sensor: Sensor) -> list[dict[str, Any]]:
    """The bad periods of a sensor in the order of time."""
    found = db.query(
        "select id, from_ms, to_ms, reason from flags where sensor = ? order by from_ms, id",
        [sensor.id],
    )
    return [
        {"id": row["id"], "from": told(row["from_ms"]), "to": told(row["to_ms"]), **row}
        for row in found
    ]


def _calibration(db: Database, sensor: Sensor, from_ms: int) -> Calibration | None:
    found = db.execute(
        "select from_ms, scale, offset, reason from calibrations where sensor = ? and from_ms = ?",
        [sensor.id, from_ms],
    ).fetchone()
    return Calibration(*found) if found else None


def _check_numbers(calibration: Calibration) -> None:
    for name, number in (("scale", calibration.scale), ("offset", calibration.offset)):
        if not math.isfinite(number) or abs(number) > LARGEST:
            raise InvalidCorrection(f"--{name} must be a number up to {LARGEST:g}, not {number}")
    if abs(calibration.scale) < 1 / LARGEST:
        raise InvalidCorrection("--scale must not be 0: all values would be the same")


def _check_reason(reason: str | None) -> None:
    if reason and len(reason) > LONGEST_REASON:
        raise InvalidCorrection(f"--reason must be no longer than {LONGEST_REASON} characters")


def _check_uncut(db: Database, sensor: Sensor, boundary_ms: int) -> None:
    """Refuse a boundary within an hour of which nothing is left but its roll-up."""
    [pruned_ms] = db.execute(
        "select pruned_before_ms from sensors where id = ?", [sensor.id]
    ).fetchone()
    since_hour_ms = boundary_ms % HOUR_MS
    if pruned_ms is None or not since_hour_ms or boundary_ms - since_hour_ms >= pruned_ms:
        return
    raise InvalidCorrection(
        f"{told(boundary_ms)} is within an hour whose raw readings were pruned"
        f" (before {told(pruned_ms)}); give a whole hour, such as"
        f" {told(boundary_ms - since_hour_ms)}"
    )
