"""T23: air pressure that looks ten times too high or too low."""

from collections.abc import Iterator
from typing import NamedTuple

from tmon.core import humanize
from tmon.core.time import DAY_MS
from tmon.db.station import Station
from tmon.maintenance.clocks import plausible_until_ms
from tmon.watch.findings import Finding, Severity

LOWEST_HPA, HIGHEST_HPA = 300.0, 1100.0  # what barometers are made for, from 9 km up to a deep mine
HOURS = 3  # the newest; a bad reading or two are no wrong unit


class Range(NamedTuple):
    """The lowest and highest of some hours, in hPa."""

    lowest: float
    highest: float

    @property
    def off_by_ten(self) -> str:
        """``a tenth of`` or ``ten times`` an air pressure, or nothing."""
        for factor, what in ((0.1, "a tenth of"), (10.0, "ten times")):
            if factor * LOWEST_HPA <= self.lowest <= self.highest <= factor * HIGHEST_HPA:
                return what
        return ""


def check(station: Station) -> Iterator[Finding]:
    """Sensors called ``pressure…`` or ``barometer…`` whose last hours all lie there."""
    sensors = station.db.execute("""
        select id, node, name from sensors
        where unit = 'hPa' and (lower(name) glob 'pressure*' or lower(name) glob 'barometer*')
        order by node, name
    """).fetchall()
    for sensor, node, name in sensors:
        raw = _newest_hours(station, "hourly", sensor)
        if not (raw and raw.off_by_ten):
            continue  # most: the corrected hours take longer
        found = _newest_hours(station, "hourly_clean", sensor)
        if found and found.off_by_ten:
            yield Finding(
                "T23",
                Severity.WARNING,
                f"{found.lowest:.6g} to {humanize.value(found.highest, 'hPa')} is"
                f" {found.off_by_ten} an air pressure: a factor of ten?",
                node,
                name,
                sensor,
            )


def _newest_hours(station: Station, table: str, sensor: int) -> Range | None:
    """Of the newest hours within a day, if there are any."""
    row = station.db.execute(
        f"select min(min), max(max) from (select min, max from {table}"
        " where sensor = ? and hour_ms > ? and hour_ms <= ? order by hour_ms desc limit ?)",
        [sensor, station.now_ms - DAY_MS, plausible_until_ms(station.now_ms), HOURS],
    ).fetchone()
    return None if row[0] is None else Range(*row)
