"""A station whose values are not all as they were measured, and where something is wrong."""

import time
from pathlib import Path

from tests.publish.published import HOSTILE, HOUR_MS
from tmon.db.connect import open_database

EVER_MS = -62_135_596_800_000
MINUTE_MS = 60_000
DAY_MS = 24 * HOUR_MS
SENSORS = ("calibrated", "flagged", "plain", "unfit")  # by their numbers, from 1 on
NOW_MS = int(time.time() * 1000)
RAW = 20.0
NEW_PROBE_MS = NOW_MS - 2 * HOUR_MS - 777_777
BAD_FROM_MS, BAD_TO_MS = NOW_MS - 6 * HOUR_MS - 1234, NOW_MS - 3 * HOUR_MS - 5678


def build(folder: Path) -> Path:
    """Four sensors of one node, each read every five minutes in the last two days."""
    path = folder / "tmon.db"
    with open_database(path, create=True) as db, db.atomic():
        for node in ("lab", "o'hara"):
            db.execute("insert into nodes (name, uid, created_ms) values (?, ?, 0)", [node, node])
        for number, name in enumerate(SENSORS, 1):
            sql = "insert into sensors (id, node, name, unit) values (?, 'lab', ?, '°C')"
            db.execute(sql, [number, name])
            for place in range(2 * 288):
                reading = [number, NOW_MS - place * 5 * MINUTE_MS, RAW + place % 7 / 10]
                db.execute("insert into readings values (?, ?, ?)", reading)
        sql = "insert into calibrations values (1, ?, ?, ?, ?, 0)"
        db.execute(sql, [EVER_MS, 1.0, -0.4, "ice water"])
        db.execute(sql, [NEW_PROBE_MS, -2.0, 60.0, HOSTILE])
        sql = (
            "insert into flags (sensor, from_ms, to_ms, reason, created_ms) values (?, ?, ?, ?, 0)"
        )
        db.execute(sql, [2, BAD_FROM_MS, BAD_TO_MS, HOSTILE])
        db.execute(sql, [2, NOW_MS - 10 * MINUTE_MS, NOW_MS + DAY_MS, "being moved"])
        db.execute(sql, [4, EVER_MS, NOW_MS + DAY_MS, "never worked"])
        db.execute("insert into limits values (3, 2, 20.7, 600, 0.5, 0)")
        for number in range(12):
            db.execute(
                "insert into incidents (finding, severity, sensor, reason, from_ms, to_ms)"
                " values ('T01', 'warning', 3, ?, ?, ?)",
                [f"too warm {number}", number * HOUR_MS, number * HOUR_MS + 1],
            )
        columns = "finding, severity, node, reason, from_ms"
        sql = f"insert into incidents ({columns}) values ('T02', ?, ?, ?, ?)"
        db.execute(sql, ["critical", "lab", HOSTILE, NOW_MS - HOUR_MS])
        db.execute(sql, ["warning", "o'hara", "silent", NOW_MS])
        db.execute(
            "insert into events (at_ms, incident, what, message) values (0, 13, 'began', ?)",
            [HOSTILE],
        )
        sql = "insert into changes (at_ms, node_uid, what, before) values (0, 'lab', 'rename', ?)"
        db.execute(sql, [HOSTILE])
    return path
