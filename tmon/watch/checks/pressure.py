"""T23: values in hPa that are ten times too high or too low for air pressure."""

from collections.abc import Iterator

from tmon.core import humanize
from tmon.core.time import DAY_MS
from tmon.maintenance.clocks import plausible_until_ms
from tmon.watch.findings import Finding, Severity
from tmon.watch.station import Station

LOWEST_HPA, HIGHEST_HPA = 300.0, 1100.0  # what barometers are made for, from 9 km up to a deep mine
HOURS = 3  # the newest; one or two bad readings are no wrong unit


def check(station: Station) -> Iterator[Finding]:
    """Sensors named ``pressure…`` or ``barometer…`` whose newest hours are all off by ten."""
    sensors = station.db.execute("""
        select id, node, name from sensors
        where unit = 'hPa' and (lower(name) glob 'pressure*' or lower(name) glob 'barometer*')
        order by node, name
    """).fetchall()
    for sensor, node, name in sensors:
        if not _off_by_ten(station, "hourly", sensor):
            continue  # as most are: the view of corrected hours is slower
        if reason := _off_by_ten(station, "hourly_clean", sensor):
            yield Finding("T23", Severity.WARNING, reason, node, name, sensor)


def _off_by_ten(station: Station, table: str, sensor: int) -> str:
    """What is wrong with the newest hours within a day; empty if nothing is."""
    lowest, highest = station.db.execute(
        f"select min(min), max(max) from (select min, max from {table}"
        " where sensor = ? and hour_ms > ? and hour_ms <= ? order by hour_ms desc limit ?)",
        [sensor, station.now_ms - DAY_MS, plausible_until_ms(station.now_ms), HOURS],
    ).fetchone()
    for factor, what in ((0.1, "a tenth of"), (10.0, "ten times")):
        if lowest and factor * LOWEST_HPA <= lowest <= highest <= factor * HIGHEST_HPA:
            span = f"{lowest:.6g} to {humanize.value(highest, 'hPa')}"
            return f"{span} is {what} an air pressure: a factor of ten?"
    return ""
