"""Stations to look at: nothing, 40 sensors of mixed kinds, and a thousand."""

import math
import time
from pathlib import Path

from sqlite_utils import Database

from tmon.core.time import DAY_MS, HOUR_MS
from tmon.db.connect import open_database, transaction

# quantity: (unit, usual value, daily swing)
KINDS: dict[str, tuple[str | None, float, float]] = {
    "temperature": ("°C", 19.4, 2.5),
    "humidity": ("%", 52, 9),
    "pressure": ("hPa", 1013.2, 4),
    "co2": ("ppm", 640, 220),
    "pm2_5": ("µg/m³", 8.3, 4),
    "power": ("W", 340, 210),
    "battery": ("%", 74, 0.5),
    "switch": (None, 0.4, 0.6),
    "illuminance": ("lx", 240, 190),
    "voltage": ("V", 3.21, 0.04),
}
# node: (area, latitude, longitude, what it measures)
NODES: dict[str, tuple[str | None, float | None, float | None, str]] = {
    "store-a": ("Museum", 52.5190, 13.3980, "temperature humidity illuminance battery"),
    "store-b": ("Museum", 52.5197, 13.4003, "temperature humidity illuminance battery"),
    "showcase-12": ("Museum", 52.5201, 13.3989, "temperature humidity voltage"),
    "freezer": ("Laboratory", 52.5170, 13.3889, "temperature power switch"),
    "incubator": ("Laboratory", 52.5172, 13.3893, "temperature humidity co2 switch"),
    "clean-room": ("Laboratory", None, None, "temperature humidity pressure pm2_5"),
    "rack-1": ("Server room", None, None, "temperature power voltage"),
    "rack-2": ("Server room", None, None, "temperature power voltage"),
    "roof": ("Outside", 52.5180, 13.3935, "temperature humidity pressure illuminance pm2_5"),
    "garden": ("Outside", 52.5164, 13.3960, "temperature humidity battery"),
    "gate": (None, None, None, "switch battery temperature humidity"),
}
GAP_H = range(30, 41)  # hours ago, of the roof


def empty(path: Path) -> None:
    open_database(path, create=True).close()


def mixed(path: Path) -> None:
    """Forty sensors with limits, an incident, a gap, a flag, one silent and a low battery."""
    at_ms = int(time.time() * 1000)
    with open_database(path, create=True) as db, transaction(db):
        for number, (name, (area, latitude, longitude, kinds)) in enumerate(NODES.items()):
            db.execute(
                "insert into nodes (name, uid, area, latitude, longitude, created_ms,"
                " last_received_ms) values (?, ?, ?, ?, ?, 0, ?)",
                (name, name, area, latitude, longitude, at_ms),
            )
            for kind in kinds.split():
                _add_sensor(db, name, kind, number, at_ms)
        _trouble(db, at_ms)


def _add_sensor(db: Database, node: str, kind: str, number: int, at_ms: int) -> None:
    """A year of hourly readings."""
    unit, usual, swing = KINDS[kind]
    usual -= 48 if node == "freezer" and kind == "temperature" else 0
    cursor = db.execute(
        "insert into sensors (node, name, quantity, unit) values (?, ?, ?, ?)",
        (node, kind, kind, unit),
    )
    readings = []
    for age_ms in range(364 * DAY_MS, -1, -HOUR_MS):
        if (node == "roof" and age_ms // HOUR_MS in GAP_H) or (
            node == "garden" and age_ms < DAY_MS
        ):
            continue
        days = (at_ms - age_ms) / DAY_MS
        daily = swing * math.sin(2 * math.pi * (days - 0.3)) * (1 + 0.2 * math.sin(7 * days))
        yearly = (6 if kind == "temperature" and node in {"roof", "garden"} else 0.5) * math.sin(
            2 * math.pi * (days - 100) / 365
        )
        value = usual + number / 5 + daily + yearly
        if node == "freezer" and kind == "temperature" and age_ms < 3 * HOUR_MS:
            value += 15
        value = float(value > usual) if kind == "switch" else round(value, 2)
        readings.append((cursor.lastrowid, at_ms - age_ms, value))
    db.conn.executemany("insert into readings values (?, ?, ?)", readings)


def _trouble(db: Database, at_ms: int) -> None:
    ids = {f"{row['node']}/{row['name']}": row["id"] for row in db["sensors"].rows}
    freezer = ids["freezer/temperature"]
    limit = "insert into limits (sensor, below, above, created_ms) values (?, ?, ?, 0)"
    db.execute(limit, (freezer, None, -24))
    db.execute(limit, (ids["store-a/humidity"], 30, 80))
    db.execute("insert into readings values (?, ?, 12)", (ids["gate/battery"], at_ms + 1))
    db.execute(
        "insert into flags (sensor, from_ms, to_ms, reason, created_ms)"
        " values (?, ?, ?, 'cable loose', ?)",
        (ids["store-b/temperature"], at_ms - 20 * HOUR_MS, at_ms - 15 * HOUR_MS, at_ms),
    )
    db.execute(
        "insert into rejected (received_ms, node, sensor, measured, value, code, reason)"
        " values (?, 'gate', 'temperature', 'now', '85.0', 'implausible_value',"
        " 'the value that a DS18B20 has after power-on')",
        (at_ms - HOUR_MS,),
    )


def thousand(path: Path) -> None:
    """A hundred nodes with ten sensors each, a reading every hour of the last day."""
    at_ms = int(time.time() * 1000)
    with open_database(path, create=True) as db, transaction(db):
        for node in range(100):
            name = f"{'abcd'[node // 25]}wing-{node:02}"
            db.execute("insert into nodes (name, uid, created_ms) values (?, ?, 0)", (name, name))
            for kind, (unit, _, _) in KINDS.items():
                db.execute(
                    "insert into sensors (node, name, quantity, unit) values (?, ?, ?, ?)",
                    (name, kind, kind, unit),
                )
        for hour in range(24):
            db.execute(
                "insert into readings select id, ? - ? * 3600000, 20 + id % 7 + ? % 5 from sensors",
                (at_ms, hour, hour),
            )
