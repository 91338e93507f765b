"""Checkpoints: made when the log is long, and never so that SQLite's WAL-reset bug can be met."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tmon.db.checkpoint import BUSY_BYTES, BUSY_S, CHECKPOINT_BYTES, WritableDatabase
from tmon.db.connect import PAGE_BYTES, open_database, sqlite3, transaction
from tmon.db.identity import index_of, log_of
from tmon.maintenance import prune
from tmon.watch.checks.storage import wal_index

ROOT = Path(__file__).parent.parent
CHECKPOINT_PAGES = CHECKPOINT_BYTES // PAGE_BYTES
BUSY_PAGES = BUSY_BYTES // PAGE_BYTES
INSERT = "insert into rejected (received_ms, node, code, reason) values (0, 'n', 'c', ?)"
ROW_PAGES = 1000  # of one row


@pytest.fixture
def db(tmp_path: Path) -> Iterator[WritableDatabase]:
    with open_database(tmp_path / "tmon.db", create=True) as opened:
        opened.execute("pragma synchronous = off")
        yield opened


@pytest.fixture
def other(db: WritableDatabase) -> Iterator[sqlite3.Connection]:
    """Another writer, as each process of tmon is one to the others."""
    with closing(sqlite3.connect(path_of(db), isolation_level=None, timeout=0)) as connection:
        connection.execute("pragma wal_autocheckpoint = 0")
        yield connection


def path_of(db: WritableDatabase) -> Path:
    return Path(db.execute("pragma database_list").fetchone()[2])


def log_header(log: Path) -> bytes:
    return log.read_bytes()[:32]


def insert(db: WritableDatabase, pages: int) -> None:
    for done in range(0, pages, ROW_PAGES):
        db.execute(INSERT, ["x" * PAGE_BYTES * min(ROW_PAGES, pages - done)])


def write(db: WritableDatabase, pages: int) -> None:
    with transaction(db):
        insert(db, pages)


def release_free_pages(db: WritableDatabase) -> None:
    prune.release_free_pages(db)


def write_a_little(db: WritableDatabase) -> None:
    write(db, 1)


def fill(db: WritableDatabase) -> None:
    """Make the log long, in a transaction that no checkpoint follows."""
    db.execute("begin immediate")
    insert(db, CHECKPOINT_PAGES)
    db.execute("commit")


ASKED_FOR = [WritableDatabase.checkpoint, WritableDatabase.valid_frames, release_free_pages]


def at_checkpoint(db: WritableDatabase, act: Callable[[], None]) -> None:
    """Do something when a checkpoint of this connection is about to begin."""

    def look(statement: str) -> None:
        if "wal_checkpoint" in statement:
            act()

    db.conn.set_trace_callback(look)


@pytest.mark.parametrize("checkpoint", [*ASKED_FOR, write_a_little])
def test_the_log_cannot_begin_anew_during_a_checkpoint(
    db: WritableDatabase,
    other: sqlite3.Connection,
    checkpoint: Callable[[WritableDatabase], object],
) -> None:
    """The bug needs a log that begins anew between two steps of a checkpoint."""
    is_held: list[bool] = []
    at_checkpoint(
        db,
        lambda: is_held.append(
            bool(other.execute("pragma wal_checkpoint(truncate)").fetchone()[0])
        ),
    )
    fill(db)
    checkpoint(db)
    assert is_held == [True]


@pytest.mark.parametrize("checkpoint", ASKED_FOR)
def test_a_checkpoint_does_nothing_to_a_log_that_begins_anew_before_it(
    db: WritableDatabase,
    other: sqlite3.Connection,
    checkpoint: Callable[[WritableDatabase], object],
) -> None:
    """Where the log was written back already, anybody may begin it anew: then nothing is done."""
    began_anew: list[bool] = []

    def begin_anew() -> None:
        before = log_header(log_of(path))
        other.execute(INSERT, ["new"])
        began_anew.append(log_header(log_of(path)) != before)

    path = path_of(db)
    fill(db)
    _, frames, written_back = other.execute("pragma wal_checkpoint(passive)").fetchone()
    assert frames == written_back
    at_checkpoint(db, begin_anew)
    checkpoint(db)
    index = wal_index(index_of(path))
    assert began_anew == [True]
    assert index is not None
    assert index.checkpointed == 0


def test_a_long_log_is_written_back_and_begins_anew(db: WritableDatabase, tmp_path: Path) -> None:
    for _ in range(40):
        write(db, CHECKPOINT_PAGES // 8)
    log_pages = log_of(tmp_path / "tmon.db").stat().st_size // PAGE_BYTES
    assert CHECKPOINT_PAGES <= log_pages < 2 * CHECKPOINT_PAGES


@pytest.mark.parametrize(("ago_s", "at_pages"), [(0, BUSY_PAGES), (BUSY_S, CHECKPOINT_PAGES)])
def test_where_much_is_written_checkpoints_are_short(
    db: WritableDatabase, ago_s: float, at_pages: int
) -> None:
    checkpoints: list[None] = []
    db.checkpoint()
    db._last_checkpoint_s -= ago_s
    at_checkpoint(db, lambda: checkpoints.append(None))
    for _ in range(7):
        write(db, at_pages // 8)
    assert not checkpoints
    write(db, at_pages // 4)
    assert len(checkpoints) == 1


def test_a_commit_stands_whatever_becomes_of_the_checkpoint(
    db: WritableDatabase, other: sqlite3.Connection
) -> None:
    other.execute("begin")
    count = "select count(*) from rejected"
    other.execute(count)  # a reader of the empty table holds the log
    for _ in range(10):
        write(db, CHECKPOINT_PAGES // 8)
    assert other.execute(count).fetchone() == (0,)
    assert db.execute(count).fetchone() == (10 * 5,)  # five rows each


def test_the_last_to_close_the_file_leaves_no_log(tmp_path: Path) -> None:
    path = tmp_path / "tmon.db"
    with open_database(path, create=True) as opened:
        write(opened, CHECKPOINT_PAGES)
        assert log_of(path).exists()
    assert not log_of(path).exists()


def test_no_other_checkpoint_is_made() -> None:
    """TRUNCATE holds the write lock from before it looks at the log; see docs/decisions/0017."""
    found = {
        str(path.relative_to(ROOT)): line.strip()
        for folder in ("ingest", "tmon", "plugins")
        for path in (ROOT / folder).rglob("*.py")
        for line in path.read_text().splitlines()
        if "wal_checkpoint" in line or "wal_autocheckpoint" in line
    }
    del found["tmon/db/checkpoint.py"]
    assert set(found) == {"tmon/db/wal.py", "tmon/maintenance/restore.py"}
    assert all("wal_checkpoint(truncate)" in line for line in found.values())


def test_no_connection_makes_one_by_itself(db: WritableDatabase) -> None:
    assert db.execute("pragma wal_autocheckpoint").fetchone() == (0,)
