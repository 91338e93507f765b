"""The demo: a small house with three nodes, whose history ends now.

Its temperatures are those of data/ambient_temperature.csv. Each node gets a third of them, moved
by whole days, so that its nights are nights. One value was below its limit last night, and some
hours are missing.
"""

import csv
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from sqlite_utils import Database

from tmon.core import demo
from tmon.core.errors import CannotImport
from tmon.core.reading import Reading
from tmon.core.reasons import DOWN_TO
from tmon.core.time import DAY_MS, HOUR_MS, as_ms
from tmon.core.units import canonical
from tmon.db import nodes
from tmon.db.connect import transaction
from tmon.db.lookup import find_sensor
from tmon.importer.record import Source, sha256_of
from tmon.importer.run import Importer

SENSOR = "temperature"
GAP_NODE, COLD_NODE = "attic", "cellar"
GAP_MS = 10 * HOUR_MS, 15 * HOUR_MS  # before the end
MARGIN_C = 0.8  # between the limit and the lowest value of the last day
HYSTERESIS_C = 0.2
LEAST = 1000  # rows of the file

Series = list[tuple[int, float]]  # measured_ms, °C


def add(db: Database, path: Path, now_ms: int, utc_offset_s: int) -> int:
    """Store the demo's nodes, readings, limit and incident; returns the number of readings.

    Args:
        db: the database, open for writing.
        path: the file of temperatures.
        now_ms: when the history ends.
        utc_offset_s: of the house's clock, by which its nights are dark.

    Raises:
        CannotImport: it is there already, a node of its names is, or the file isn't readable.
    """
    _check(db)
    house = dict(_house(_load(path), now_ms, utc_offset_s * 1000))
    importer = Importer(db, Source(demo.FILE, sha256_of(str(path)), None, demo.NOTE))
    readings = {
        node: [Reading(i, SENSOR, value, "°C", at) for i, (at, value) in enumerate(series)]
        for node, series in house.items()
    }
    receipts = importer.store(readings, now_ms)
    importer.finish(already_there=0, rejected=0)
    for node in house:
        nodes.describe(db, node, {"description": demo.DESCRIPTION, "area": demo.AREA})
    _add_limit(db, house[COLD_NODE], now_ms)
    return sum(receipt.accepted for receipt in receipts)


def _check(db: Database) -> None:
    query = "select name from nodes where name in (?, ?, ?) order by name"
    taken = [name for (name,) in db.execute(query, demo.NODES)]
    if taken:
        raise CannotImport(
            f"there is a node called {taken[0]} already; the demo needs the names"
            f" {', '.join(demo.NODES)}. `tmon demo remove` removes an earlier demo"
        )


def _load(path: Path) -> Series:
    try:
        with path.open(encoding="utf-8") as file:
            series = [
                (
                    as_ms(datetime.fromisoformat(row["timestamp"]).replace(tzinfo=UTC)),
                    round(canonical(float(row["value"]), "°F")[0], 2),
                )
                for row in csv.DictReader(file)
            ]
    except (OSError, KeyError, ValueError, csv.Error) as error:
        raise _wrong_file(path, str(error)) from None
    if len(series) < LEAST:
        raise _wrong_file(path, "too short")
    return series


def _wrong_file(path: Path, why: str) -> CannotImport:
    return CannotImport(
        f"{path} can't be read as the demo's temperatures ({why});"
        " run this in tmon's folder, or name data/ambient_temperature.csv of it"
    )


def _house(series: Series, now_ms: int, utc_offset_ms: int) -> Iterator[tuple[str, Series]]:
    """Each node's third of the series, moved by whole days of the house's clock to end now."""
    size = len(series) // len(demo.NODES)
    for place, node in enumerate(demo.NODES):
        part = series[place * size : (place + 1) * size]
        until_ms = now_ms + utc_offset_ms
        days = -((part[-1][0] - until_ms) // DAY_MS)
        moved = [(at + days * DAY_MS - utc_offset_ms, value) for at, value in part]
        end_ms = max(at for at, _ in moved if at <= now_ms)
        yield (
            node,
            [
                (at, value)
                for at, value in moved
                if at <= now_ms and not (node == GAP_NODE and _is_in_gap(end_ms - at))
            ],
        )


def _is_in_gap(age_ms: int) -> bool:
    first_ms, last_ms = GAP_MS
    return first_ms <= age_ms < last_ms


def _add_limit(db: Database, series: Series, now_ms: int) -> None:
    """A limit that was crossed in the last day, and the incidents that this was."""
    day = [(at, value) for at, value in series if at > now_ms - DAY_MS]
    below = round(min(value for _, value in day) + MARGIN_C, 1)
    sensor = find_sensor(db, COLD_NODE, SENSOR)
    with transaction(db):
        db.execute(
            "insert into limits (sensor, below, hysteresis, created_ms) values (?, ?, ?, ?)",
            [sensor.id, below, HYSTERESIS_C, day[0][0]],
        )
        for from_ms, to_ms, lowest in _times_below(day, below):
            reason = DOWN_TO.format(value=f"{lowest:.1f} °C", limit=f"{below:.1f} °C")
            db.execute(
                "insert into incidents (finding, severity, sensor, reason, from_ms, to_ms)"
                " values ('T03', 'critical', ?, ?, ?, ?)",
                [sensor.id, reason, from_ms, to_ms],
            )


def _times_below(
    day: Sequence[tuple[int, float]], below: float
) -> Iterator[tuple[int, int, float]]:
    """From when to when values were below; the checks find one that lasts by themselves."""
    began_ms, lowest = None, below
    for at, value in day:
        if began_ms is None and value < below:
            began_ms, lowest = at, value
        elif began_ms is not None and value >= below + HYSTERESIS_C:
            yield began_ms, at, lowest
            began_ms = None
        lowest = min(lowest, value)
