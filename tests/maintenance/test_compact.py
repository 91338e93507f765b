"""`tmon compact` puts the same rows, in small pages, in the old file's place."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.station import Process, tmon
from tmon.db.connect import open_database, schema_objects

START_MS = 1_790_000_000_000


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A database of pages of 4 kB, with gaps."""
    path = tmp_path / "tmon.db"
    with closing(sqlite3.connect(path)) as empty:
        empty.execute("pragma page_size = 4096")
        empty.execute("pragma auto_vacuum = incremental")
        empty.execute("vacuum")
    with open_database(path) as db:
        db.execute("insert into nodes (name, uid, created_ms) values ('n', 'u', 0)")
        db.execute("insert into sensors (id, node, name) values (1, 'n', 't')")
        db.execute(
            "insert into readings (sensor, measured_ms, value)"
            " with recursive t (i) as (select 0 union all select i + 1 from t where i < 20000)"
            " select 1, ? + i * 60000, i from t",
            [START_MS],
        )
        db.execute("create table remarks (text)")
        db.execute("insert into remarks values ('the owner''s own')")
        db.execute("delete from readings where value % 2 = 1")
    return path


def content(path: Path) -> list[object]:
    with open_database(path) as db:
        tables = [one.name for one in schema_objects(db) if one.type == "table"]
        rows = [
            db.execute(f"select * from {table} order by 1, 2").fetchall()
            for table in tables
            if table not in {"remarks", "sqlite_sequence"}
        ]
        return [schema_objects(db), rows, db.execute("select * from remarks").fetchall()]


def pragma(path: Path, name: str) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute(f"pragma {name}").fetchone()[0])


def test_the_same_is_there_in_small_pages(old: Path) -> None:
    before, size, mark = content(old), old.stat().st_size, pragma(old, "user_version")
    old.chmod(0o640)
    ran = tmon(old.parent, "compact", "--db", "tmon.db")
    assert ran.returncode == 0, ran.stderr
    assert content(old) == before
    assert (pragma(old, "page_size"), pragma(old, "auto_vacuum")) == (1024, 2)
    assert old.stat().st_size < 0.8 * size
    assert old.stat().st_mode & 0o777 == 0o640
    assert pragma(old, "user_version") != mark  # what an old log belongs to
    assert [path.name for path in old.parent.glob("*.db*")] == ["tmon.db"]
    assert f"{old.stat().st_size / 1e6:.1f} MB now" in ran.stdout


def test_it_is_not_done_beside_a_station_that_runs(old: Path) -> None:
    environ = {"TMON_SECRET": "0" * 64}
    running = Process(
        old.parent, "serve", "ingest", "--db", "tmon.db", "--port", "0", environ=environ
    )
    try:
        running.addresses(1)
        ran = tmon(old.parent, "compact", "--db", "tmon.db")
    finally:
        running.kill()
    assert ran.returncode == 1
    assert "is in use; first stop `tmon serve`" in ran.stderr
    assert pragma(old, "page_size") == 4096


def test_what_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "tmon.db"
    path.write_text("Dear all, " * 100)
    ran = tmon(tmp_path, "compact", "--db", "tmon.db")
    assert ran.returncode == 1
    assert "not a database" in ran.stderr
    assert path.read_text() == "Dear all, " * 100
