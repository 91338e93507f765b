"""T23: air pressure that looks ten times too high or too low."""

from collections.abc import Iterator

from watch import words
from watch.clocks import plausible_until_ms
from watch.findings import Finding, Severity
from watch.station import DAY_MS, Station

LOWEST_HPA, HIGHEST_HPA = 300.0, 1100.0  # what barometers are made for, from 9 km up to a deep mine
HOURS = 3  # the newest; a bad reading or two are no wrong unit
TENTH, TENFOLD = 0.1, 10.0


def check(station: Station) -> Iterator[Finding]:
    """Sensors called ``pressure…`` or ``barometer…`` whose last hours all lie there."""
    sensors = station.db.execute("""
        select id, node, name from sensors
        where unit = 'hPa' and (lower(name) glob 'pressure*' or lower(name) glob 'barometer*')
        order by node, name
    """).fetchall()
    for sensor, node, name in sensors:
        lowest, highest = _newest_hours(station, sensor)
        for factor, what in ((TENTH, "a tenth of"), (TENFOLD, "ten times")):
            if lowest and factor * LOWEST_HPA <= lowest <= highest <= factor * HIGHEST_HPA:
                told = f"{words.value(lowest, None)} to {words.value(highest, 'hPa')}"
                yield Finding(
                    "T23",
                    Severity.WARNING,
                    f"{told} is {what} an air pressure: a factor of ten?",
                    node,
                    name,
                    sensor,
                )


def _newest_hours(station: Station, sensor: int) -> tuple[float | None, float]:
    """The lowest and highest of the newest hours within a day, as they are corrected."""
    row: tuple[float | None, float] = station.db.execute(
        "select min(min), max(max) from (select min, max from hourly_clean"
        " where sensor = ? and hour_ms > ? and hour_ms <= ? order by hour_ms desc limit ?)",
        [sensor, station.now_ms - DAY_MS, plausible_until_ms(station.now_ms), HOURS],
    ).fetchone()
    return row
