"""What a command writes is recorded, with its parameters, and nothing is written."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tmon.db.connect import open_database, sqlite3
from tmon.stream.recording import RecordingConnection


@pytest.fixture
def conn(tmp_path: Path) -> Iterator[RecordingConnection]:
    path = tmp_path / "tmon.db"
    with open_database(path, create=True) as db:
        db.execute("insert into nodes (name, uid, created_ms) values ('attic', 'a1', 1)")
    recording = sqlite3.connect(str(path), isolation_level=None, factory=RecordingConnection)
    recording.execute("pragma foreign_keys = on")
    recording.end()
    yield recording
    recording.close()


def test_statements_that_write_are_recorded_with_their_parameters(
    conn: RecordingConnection,
) -> None:
    conn.begin()
    for _ in range(2):  # SQLite prepares it once
        conn.execute("update nodes set latitude = ? where name = ?", [0.1, "attic"])
    conn.execute("select * from nodes where name = ?", ["attic"]).fetchall()
    conn.execute("update nodes set description = :text", {"text": "under the roof"})
    conn.executemany("update nodes set revoked_ms = ?", [[1], [True]])
    conn.execute("delete from limits where sensor = 7")  # no row here, perhaps one elsewhere
    assert conn.has_changes
    assert conn.statements == [
        ("update nodes set latitude = ? where name = ?", [0.1, "attic"]),
        ("update nodes set latitude = ? where name = ?", [0.1, "attic"]),
        ("update nodes set description = :text", {"text": "under the roof"}),
        ("update nodes set revoked_ms = ?", [1]),
        ("update nodes set revoked_ms = ?", [1]),
        ("delete from limits where sensor = 7", []),
    ]


def test_the_file_stays_as_it_is(conn: RecordingConnection) -> None:
    conn.begin()
    conn.execute("update nodes set name = 'roof'")
    conn.end()
    assert conn.execute("select name from nodes").fetchall() == [("attic",)]
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        conn.execute("update nodes set name = 'roof'")


def test_a_transaction_that_changes_no_row_changes_nothing(conn: RecordingConnection) -> None:
    conn.begin()
    conn.execute("update nodes set name = 'roof' where name = 'cellar'")
    assert not conn.has_changes


@pytest.mark.parametrize(
    "value", ["random()", "unixepoch()", "current_timestamp", "last_insert_rowid()"]
)
def test_what_would_differ_on_another_machine_is_refused(
    conn: RecordingConnection, value: str
) -> None:
    conn.begin()
    with pytest.raises(ValueError, match="differs on other machines"):
        conn.execute(f"update nodes set description = {value}")


def test_what_only_reads_may_differ(conn: RecordingConnection) -> None:
    conn.begin()
    conn.execute("select unixepoch()").fetchall()
    assert conn.statements == []
