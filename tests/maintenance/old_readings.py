"""Databases with old readings, and what `hourly` must say of them."""

import secrets
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from tmon.db.connect import open_database, open_for_reading, transaction
from tmon.store.hours import close_hours_of

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
NOW_MS = 1_735_732_800_000  # 2025-01-01T12:00Z: no clock of today is before it
START_MS = NOW_MS - 60 * DAY_MS  # a whole hour, for readings that are old

Rows = list[tuple[int, float]]


def soak(*values: int, timeout_s: int) -> Any:
    """A set of parameters for ``make soak`` only."""
    return pytest.param(*values, marks=[pytest.mark.soak, pytest.mark.timeout(timeout_s)])


def new_folders(parent: Path, count: int) -> Iterator[Path]:
    """A new folder for each repetition of a test."""
    for number in range(count):
        folder = parent / str(number)
        folder.mkdir()
        yield folder


def minutes(count: int, start_ms: int = START_MS, step_ms: int = MINUTE_MS) -> Rows:
    return [(start_ms + place * step_ms, place % 40 / 8 - 1) for place in range(count)]


def add_sensor(
    db: Database, node: str, name: str, rows: Iterable[tuple[int, float]], unit: str | None = "°C"
) -> int:
    """A sensor with readings, as ingest makes it; its node too where there is none."""
    with transaction(db):
        db.execute(
            "insert into nodes (name, uid, created_ms) values (?, ?, 0)"
            " on conflict (name) do nothing",
            [node, secrets.token_hex(8)],
        )
        uid = db.execute("select uid from nodes where name = ?", [node]).fetchone()[0]
        db.execute("insert into sensors (node, name, unit) values (?, ?, ?)", [node, name, unit])
        number = int(db.execute("select last_insert_rowid()").fetchone()[0])
        db.execute(
            "insert into sensor_names (node_uid, wire_name, sensor) values (?, ?, ?)",
            [uid, name, number],
        )
        db.conn.executemany(
            "insert into readings (sensor, measured_ms, value) values (?, ?, ?)",
            [(number, *row) for row in rows],
        )
    return number


def made(path: Path, *sensors: tuple[str, str, Rows]) -> list[int]:
    """Make a database with these sensors; returns their numbers."""
    with open_database(path, create=True) as db:
        numbers = [add_sensor(db, *sensor) for sensor in sensors]
        for number in numbers:
            close_hours_of(db, number, 0, NOW_MS)
        return numbers


def ask(path: Path, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """The rows that a second connection sees."""
    with open_for_reading(path) as db:
        return list(db.execute(sql, list(parameters)).fetchall())


def all_hours(path: Path) -> list[tuple[Any, ...]]:
    return ask(path, "select sensor, hour_ms, n, sum, min, max from hourly")


def counted(rows: Iterable[tuple[int, float]]) -> dict[int, tuple[int, float, float]]:
    """What the hours of readings are: n, min and max by hour_ms."""
    hours: dict[int, list[float]] = defaultdict(list)
    for measured_ms, value in rows:
        hours[measured_ms // HOUR_MS * HOUR_MS].append(value)
    return {hour: (len(own), min(own), max(own)) for hour, own in hours.items()}


def hours_of(path: Path, sensor: int) -> dict[int, tuple[int, float, float]]:
    """The same, as `hourly` has it."""
    sql = "select hour_ms, n, min, max from hourly where sensor = ?"
    return {hour: (n, low, high) for hour, n, low, high in ask(path, sql, sensor)}
