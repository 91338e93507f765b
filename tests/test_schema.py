"""The tables: made, upgraded, refused; and what the views say."""

import operator
import random
import re
import sqlite3 as builtin
import threading
import time
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from tmon.db.connect import (
    APPLICATION_ID,
    RefusedDatabase,
    open_database,
    open_for_reading,
    sqlite3,
    transaction,
)
from tmon.db.migrations import migrations

MINUTE_MS = 60_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "any name.sqlite"


def with_sensor(path: Path, *, silent_after_s: int | None = None) -> Database:
    db = open_database(path, create=True)
    db.execute(
        "insert into nodes (name, uid, created_ms, silent_after_s) values ('n', 'u', 0, ?)",
        [silent_after_s],
    )
    db.execute("insert into sensors (id, node, name) values (1, 'n', 's')")
    return db


def add(db: Database, *measured_ms: int, value: float = 1.0) -> None:
    with transaction(db):
        for at in measured_ms:
            db.execute(
                "insert into readings (sensor, measured_ms, value) values (1, ?, ?)", [at, value]
            )


def test_migrations_are_applied_in_the_order_of_their_numbers() -> None:
    with Database(memory=True) as nothing:
        names = [migration.name for migration in migrations.pending(nothing)]
    assert names == sorted(names)


def test_a_migration_has_the_name_of_its_file() -> None:
    with Database(memory=True) as nothing:
        names = [migration.name for migration in migrations.pending(nothing)]
    folder = Path(__file__).parent.parent / "tmon" / "db" / "migrations"
    assert names == sorted(path.stem for path in folder.glob("[0-9]*.py"))


def test_a_new_file_is_made_as_it_must_be_for_good(path: Path) -> None:
    with open_database(path, create=True) as db:
        settings = {
            name: db.execute(f"pragma {name}").fetchone()[0]
            for name in ("journal_mode", "auto_vacuum", "application_id", "foreign_keys")
        }
        assert settings == {
            "journal_mode": "wal",
            "auto_vacuum": 2,
            "application_id": APPLICATION_ID,
            "foreign_keys": 1,
        }
        assert db.execute("pragma synchronous").fetchone()[0] == 2
        assert {"nodes", "sensors", "sensor_names", "readings", "hours", "rejected"} <= set(
            db.table_names()
        )
        assert {"latest", "daily"} <= set(db.view_names())


def test_opening_again_changes_nothing(path: Path) -> None:
    open_database(path, create=True).close()
    before = path.read_bytes()
    open_database(path).close()
    assert path.read_bytes() == before


def test_two_processes_may_make_it_at_once(path: Path) -> None:
    errors: list[Exception] = []

    def make() -> None:
        try:
            open_database(path, create=True).close()
        except (RefusedDatabase, sqlite3.Error) as error:
            errors.append(error)

    threads = [threading.Thread(target=make) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_a_missing_file_is_refused_unless_it_is_to_be_made(path: Path) -> None:
    with pytest.raises(RefusedDatabase, match="no such database"):
        open_database(path)
    assert not path.exists()


def test_a_file_from_a_newer_tmon_is_refused(path: Path) -> None:
    with open_database(path, create=True) as db:
        db.table("_sqlite_migrations").insert(
            {"id": 99, "migration_set": "tmon", "name": "9999_future", "applied_at": ""}
        )
    with pytest.raises(RefusedDatabase, match=r"newer tmon.*9999_future"):
        open_database(path)


@pytest.mark.parametrize("content", [b"no database at all, just text" * 50, None])
def test_what_is_no_tmon_database_is_refused(path: Path, content: bytes | None) -> None:
    if content is None:
        other = builtin.connect(path)
        other.execute("create table mine (a)")
        other.close()
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(RefusedDatabase) as refused:
        open_database(path, create=True)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert path.read_bytes() == before


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedDatabase, match="not a file"):
        open_database(tmp_path, create=True)


def test_a_file_of_an_older_tmon_is_upgraded(path: Path) -> None:
    with Database(path) as db:
        migrations.apply(db, stop_before="0003_latest_sooner")
        db.execute(f"pragma application_id = {APPLICATION_ID}")
    with open_database(path) as db:
        assert {"latest", "daily"} <= set(db.view_names())
        assert not migrations.pending(db)


def test_a_table_of_the_owners_with_a_new_name_of_ours_is_kept_and_told(path: Path) -> None:
    with Database(str(path)) as db:
        migrations.apply(db, stop_before=["0021_notes"])
        db.execute(f"pragma application_id = {APPLICATION_ID}")
        db.execute("create table notes (x)")
        db.execute("insert into notes values ('mine')")
    with pytest.raises(RefusedDatabase, match=r"table notes already exists; .* rename yours"):
        open_database(path)
    with builtin.connect(path) as raw:
        assert raw.execute("select x from notes").fetchall() == [("mine",)]
        raw.execute("alter table notes rename to own_notes")
    raw.close()
    with open_database(path) as db:
        assert db.table("notes").count == 0
        assert db.table("own_notes").count == 1


def test_a_reader_cant_write(path: Path) -> None:
    open_database(path, create=True).close()
    with open_for_reading(path) as db, pytest.raises(sqlite3.OperationalError, match="readonly"):
        db.execute("delete from readings")


@pytest.mark.parametrize(
    ("measured_ms", "measured_at"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_795_176_000_123, "2026-11-20T12:00:00.123Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (-5_000_000_000_000, "1811-07-23T15:06:40.000Z"),
    ],
)
def test_an_instant_has_a_readable_twin(path: Path, measured_ms: int, measured_at: str) -> None:
    with with_sensor(path) as db:
        add(db, measured_ms)
        assert db.execute("select measured_at from readings").fetchone()[0] == measured_at


def test_hours_and_days_before_1970_round_down(path: Path) -> None:
    with with_sensor(path) as db:
        add(db, -1, -3_600_000, -3_600_001, 0)
        hours = db.execute("select hour_ms, n from hourly order by hour_ms").fetchall()
        assert hours == [(-7_200_000, 1), (-3_600_000, 2), (0, 1)]
        days = db.execute("select day, day_ms, n, mean from daily order by day_ms").fetchall()
        assert days == [("1969-12-31", -86_400_000, 3, 1.0), ("1970-01-01", 0, 1, 1.0)]


def test_a_null_has_no_place_in_a_reading(path: Path) -> None:
    with with_sensor(path) as db, pytest.raises(sqlite3.IntegrityError, match="NOT NULL"):
        add(db, 0, value=float("nan"))


def silence(db: Database) -> tuple[int, int]:
    age_s, silent = db.execute("select age_s, silent from latest").fetchone()
    return age_s, silent


def test_a_sensor_is_silent_after_three_usual_intervals(path: Path) -> None:
    now_ms = time.time_ns() // 1_000_000
    with with_sensor(path) as db:
        add(db, *(now_ms - (50 + 20 * i) * MINUTE_MS for i in range(60)))
        assert silence(db)[1] == 0  # 50 minutes, three times 20 are 60
        add(db, now_ms + 5 * MINUTE_MS)
        assert silence(db) == (0, 0)
    with open_database(path) as db:
        db.execute("delete from readings where measured_ms > ?", [now_ms - 65 * MINUTE_MS])
        assert silence(db)[1] == 1  # 70 minutes


def test_a_sensor_is_never_silent_before_a_quarter_of_an_hour(path: Path) -> None:
    now_ms = time.time_ns() // 1_000_000
    with with_sensor(path) as db:
        add(db, *(now_ms - 14 * MINUTE_MS - 1000 * i for i in range(60)))
        assert silence(db)[1] == 0
        db.execute("delete from readings where measured_ms > ?", [now_ms - 14 * MINUTE_MS - 1])
        assert silence(db)[1] == 0


@pytest.mark.parametrize("count", [1, 2, 3, 4, 25, 49, 50, 51, 80])
@pytest.mark.parametrize("usual_s", [1, 300, 3600, 86_400])
def test_silent_is_three_medians_of_the_newest_50_whatever_the_gaps(
    path: Path, count: int, usual_s: int
) -> None:
    chance = random.Random(count * usual_s)
    gaps_s = [usual_s * chance.choice([1, 2, 2, 3, 40]) for _ in range(count - 1)]
    median_s = sorted(gaps_s[:49])[(len(gaps_s[:49]) - 1) // 2] if gaps_s else 0
    threshold_s = max(900, 3 * median_s)
    some_time_s = 3 * sum(gaps_s[:49]) // 25 + 2000
    with with_sensor(path) as db:
        # It grows older while a busy machine gets to ask.
        for age_s in {0, 1000, threshold_s - 60, threshold_s + 1, some_time_s}:
            now_s = time.time_ns() // 10**9
            newest_first_s = accumulate(gaps_s, operator.sub, initial=now_s - age_s)
            db.execute("delete from readings")
            add(db, *(instant_s * 1000 for instant_s in newest_first_s))
            assert silence(db)[1] == (age_s > threshold_s), age_s


def test_one_long_gap_doesnt_make_the_usual_interval(path: Path) -> None:
    now_ms = time.time_ns() // 1_000_000
    with with_sensor(path) as db:
        add(db, now_ms - 30 * 24 * 60 * MINUTE_MS)
        add(db, *(now_ms - (16 + i) * MINUTE_MS for i in range(10)))
        assert silence(db)[1] == 1


def test_a_single_reading_is_silent_after_a_quarter_of_an_hour(path: Path) -> None:
    now_ms = time.time_ns() // 1_000_000
    with with_sensor(path) as db:
        add(db, now_ms - 16 * MINUTE_MS)
        assert silence(db)[1] == 1


def test_a_node_may_say_itself_when_it_is_silent(path: Path) -> None:
    now_ms = time.time_ns() // 1_000_000
    with with_sensor(path, silent_after_s=60) as db:
        add(db, now_ms - 30_000)
        assert silence(db)[1] == 0
        db.execute("update nodes set silent_after_s = 20")
        assert silence(db)[1] == 1


@pytest.mark.parametrize("library", [sqlite3, builtin])
@pytest.mark.parametrize("view", ["latest", "latest_clean"])
def test_the_latest_are_fast_however_long_the_history(path: Path, view: str, library: Any) -> None:
    with_sensor(path).close()
    conn = library.connect(path)
    plan = [step[3] for step in conn.execute(f"explain query plan select * from {view}")]
    conn.close()
    scanned = [step for step in plan if re.match(r"SCAN (?!\(|CONSTANT ROW)", step)]
    assert scanned == ["SCAN sensors"]
    assert len([step for step in plan if step.endswith("measured_ms<?)")]) >= 3
