"""A sensor's calibrations and flags (bad periods); its raw readings stay as they are."""

import math
from typing import Any, NamedTuple

from sqlite_utils import Database

from tmon.core.errors import TmonError
from tmon.core.time import FIRST_MS, HOUR_MS, as_datetime
from tmon.db.connect import transaction
from tmon.db.lookup import Sensor

LARGEST = 1e12  # scale or offset: a larger one was mistyped
LONGEST_REASON = 500  # characters: a page shows it whole


class InvalidCorrection(TmonError):
    """A calibration or a flag with impossible values; nothing was changed."""


class NoSuchCorrection(TmonError):
    """The calibration or flag to remove doesn't exist."""


class Calibration(NamedTuple):
    """``value * scale + offset``, in the sensor's unit, from ``from_ms`` on."""

    from_ms: int
    scale: float
    offset: float
    reason: str | None

    def __str__(self) -> str:
        reason = f" ({self.reason})" if self.reason else ""
        return (
            f"value * {self.scale:g} + {self.offset:g}, from {format_time(self.from_ms)} on{reason}"
        )


class Period(NamedTuple):
    """A bad period: from ``from_ms`` up to, but without, ``to_ms``."""

    from_ms: int
    to_ms: int
    reason: str


def format_time(at_ms: int) -> str:
    """A time in UTC, as short as it is exact: ``2026-11-25`` or ``2026-11-25T03:00:00Z``."""
    if at_ms == FIRST_MS:
        return "the beginning"
    at = as_datetime(at_ms)
    exact = at.isoformat(timespec="milliseconds" if at_ms % 1000 else "seconds")
    return exact.removesuffix("T00:00:00+00:00").replace("+00:00", "Z")


def calibrate(db: Database, sensor: Sensor, new: Calibration, now_ms: int) -> Calibration | None:
    """Insert a calibration.

    Returns:
        The calibration with the same ``from_ms`` that it replaces, if there was one.

    Raises:
        InvalidCorrection: its numbers are impossible, or it begins within a pruned hour.
    """
    for name, number in (("scale", new.scale), ("offset", new.offset)):
        if not math.isfinite(number) or abs(number) > LARGEST:
            raise InvalidCorrection(f"--{name} must be a number up to {LARGEST:g}, not {number}")
    if abs(new.scale) < 1 / LARGEST:
        raise InvalidCorrection("--scale must not be 0: all values would be the same")
    _check_reason(new.reason)
    with transaction(db):
        _refuse_within_pruned_hour(db, sensor, new.from_ms)
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
    """Delete the calibration with this ``from_ms``, and return it.

    Raises:
        NoSuchCorrection: the sensor has none.
    """
    with transaction(db):
        found = _calibration(db, sensor, from_ms)
        if found is None:
            others = ", ".join(row["from"] for row in calibrations(db, sensor)) or "there is none"
            raise NoSuchCorrection(
                f"no calibration of {sensor.node} {sensor.name} is from {format_time(from_ms)} on"
                f" (from: {others})"
            )
        db.execute(
            "delete from calibrations where sensor = ? and from_ms = ?", [sensor.id, from_ms]
        )
    return found


def calibrations(db: Database, sensor: Sensor) -> list[dict[str, Any]]:
    """A sensor's calibrations in the order of time, each valid until the next."""
    found = db.query(
        "select from_ms, scale, offset, reason from calibrations where sensor = ? order by from_ms",
        [sensor.id],
    )
    return [{"from": format_time(row["from_ms"]), **row} for row in found]


def flag(db: Database, sensor: Sensor, period: Period, now_ms: int) -> int:
    """Insert a bad period, and return the flag's number.

    Raises:
        InvalidCorrection: it ends before it begins, has no reason, or begins or ends within a
            pruned hour.
    """
    if period.from_ms >= period.to_ms:
        raise InvalidCorrection("a bad period has to begin before it ends: --from before --to")
    if not period.reason.strip():
        raise InvalidCorrection("a bad period needs a --reason: everybody is shown it")
    _check_reason(period.reason)
    with transaction(db):
        for boundary_ms in (period.from_ms, period.to_ms):
            _refuse_within_pruned_hour(db, sensor, boundary_ms)
        [number] = db.execute(
            "insert into flags (sensor, from_ms, to_ms, reason, created_ms)"
            " values (?, ?, ?, ?, ?) returning id",
            [sensor.id, *period, now_ms],
        ).fetchone()
    return int(number)


def remove_flag(db: Database, sensor: Sensor, number: int) -> None:
    """Delete a bad period of the sensor.

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
    """A sensor's bad periods in the order of time."""
    found = db.query(
        "select id, from_ms, to_ms, reason from flags where sensor = ? order by from_ms, id",
        [sensor.id],
    )
    return [
        {
            "id": row["id"],
            "from": format_time(row["from_ms"]),
            "to": format_time(row["to_ms"]),
            **row,
        }
        for row in found
    ]


def _calibration(db: Database, sensor: Sensor, from_ms: int) -> Calibration | None:
    found = db.execute(
        "select from_ms, scale, offset, reason from calibrations where sensor = ? and from_ms = ?",
        [sensor.id, from_ms],
    ).fetchone()
    return Calibration(*found) if found else None


def _check_reason(reason: str | None) -> None:
    if reason and len(reason) > LONGEST_REASON:
        raise InvalidCorrection(f"--reason must be no longer than {LONGEST_REASON} characters")


def _refuse_within_pruned_hour(db: Database, sensor: Sensor, boundary_ms: int) -> None:
    """Refuse a boundary within an hour whose raw readings were pruned."""
    [pruned_ms] = db.execute(
        "select pruned_before_ms from sensors where id = ?", [sensor.id]
    ).fetchone()
    since_hour_ms = boundary_ms % HOUR_MS
    if pruned_ms is None or not since_hour_ms or boundary_ms - since_hour_ms >= pruned_ms:
        return
    raise InvalidCorrection(
        f"{format_time(boundary_ms)} is within an hour whose raw readings were pruned"
        f" (before {format_time(pruned_ms)}); give a whole hour, such as"
        f" {format_time(boundary_ms - since_hour_ms)}"
    )
