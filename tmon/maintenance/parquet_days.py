"""The days of which `tmon parquet` makes files: what each holds, and whether that has changed."""

import hashlib
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlite_utils import Database

from tmon.core.time import DAY_MS, FIRST_MS, LAST_MS, iso

FORMAT = 1  # of the files: another one makes all days again

_SENSORS = """
select id, node, name, quantity, unit, pruned_before_ms from sensors order by node, name
"""
# Of closed hours, a few rows of `hours` for each sensor, rather than all its readings.
_COUNTS = """
select sensors.id, sum(n), min(min), max(max), sum(sum)
from sensors cross join hourly on hourly.sensor = sensors.id
    and hour_ms >= :from_ms and hour_ms < :to_ms
group by sensors.id
"""


class Sensor(NamedTuple):
    """A sensor as its rows name it."""

    id: int
    node: str
    name: str
    quantity: str | None
    unit: str | None
    pruned_before_ms: int | None


class Calibration(NamedTuple):
    """A row of ``calibrations``, without its sensor."""

    from_ms: int
    scale: float
    offset: float


class Flag(NamedTuple):
    """A row of ``flags``, without its sensor."""

    from_ms: int
    to_ms: int
    reason: str


class Day(NamedTuple):
    """A UTC day: how many readings it has, and a checksum of what its file would hold."""

    from_ms: int
    readings: int
    checksum: str

    @property
    def to_ms(self) -> int:
        return self.from_ms + DAY_MS

    @property
    def date(self) -> str:
        return iso(self.from_ms)[:10]


class Days:
    """Knows a station's sensors and their corrections, and from these its days."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.sensors = [Sensor(*row) for row in db.execute(_SENSORS).fetchall()]
        self._calibrations: dict[int, list[Calibration]] = defaultdict(list)
        self._flags: dict[int, list[Flag]] = defaultdict(list)
        columns = "select sensor, from_ms, scale, offset from calibrations order by from_ms"
        for sensor, *row in db.execute(columns).fetchall():
            self._calibrations[sensor].append(Calibration(*row))
        columns = "select sensor, from_ms, to_ms, reason from flags order by id"
        for sensor, *row in db.execute(columns).fetchall():
            self._flags[sensor].append(Flag(*row))

    def between(self, from_ms: int, to_ms: int) -> Iterator[int]:
        """The starts of the days that have readings."""
        next_ms = max(from_ms, FIRST_MS)
        while next_ms < min(to_ms, LAST_MS):
            query = "select min(measured_ms) from readings where measured_ms >= ?"
            found = self._db.execute(query, [next_ms]).fetchone()[0]
            if found is None or found >= to_ms:
                return
            yield (day_ms := found // DAY_MS * DAY_MS)
            next_ms = day_ms + DAY_MS

    def is_pruned(self, day_ms: int) -> bool:
        """Whether some of its readings may be gone, of which only the hours are left."""
        return any((sensor.pruned_before_ms or day_ms) > day_ms for sensor in self.sensors)

    def day(self, day_ms: int) -> Day:
        """What the day holds: it has another checksum when anything in its file would differ."""
        span = {"from_ms": day_ms, "to_ms": day_ms + DAY_MS}
        counts = {sensor: row for sensor, *row in self._db.execute(_COUNTS, span).fetchall()}
        digest = hashlib.blake2b(str(FORMAT).encode(), digest_size=16)
        for sensor in self.sensors:
            if sensor.id in counts:
                *exact, total = counts[sensor.id]
                # A sum may differ in its last digits when it was added in another order.
                content = (
                    *sensor[1:5],
                    *exact,
                    f"{total:.9g}",
                    *self.corrections(sensor.id, day_ms),
                )
                digest.update(ascii(content).encode())
        return Day(day_ms, sum(row[0] for row in counts.values()), digest.hexdigest())

    def corrections(self, sensor: int, day_ms: int) -> tuple[list[Calibration], list[Flag]]:
        """The calibrations and flags that are in force at some time of the day."""
        calibrations = self._calibrations.get(sensor, [])
        first = bisect_right(calibrations, day_ms, key=lambda one: one.from_ms) - 1
        to_ms = day_ms + DAY_MS
        return (
            [one for one in calibrations[max(first, 0) :] if one.from_ms < to_ms],
            [
                one
                for one in self._flags.get(sensor, [])
                if one.from_ms < to_ms and one.to_ms > day_ms
            ],
        )


def station_uid(db: Database) -> str:
    """Who made the files: the random id of the station's first node, which backups have too."""
    row: Any = db.execute("select uid from nodes order by created_ms, uid limit 1").fetchone()
    return str(row[0]) if row else ""
