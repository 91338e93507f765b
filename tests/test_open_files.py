"""What is seen of an open log while another process writes it back, or cuts it, at any moment."""

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from tests.maintenance.backup_files import add, station
from tmon.core.errors import LogCut
from tmon.db.connect import open_database, sqlite3
from tmon.db.open_files import OpenFiles


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with open_database(station(tmp_path)) as opened:
        add(opened, 1)
        yield opened


def write_back(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("pragma wal_checkpoint(truncate)").fetchone()[0] == 0


def write_back_and_begin_anew(path: Path) -> None:
    write_back(path)
    with closing(sqlite3.connect(path)) as other:
        other.execute("update nodes set description = 'in a new log'")
        other.commit()


def cut(path: Path) -> None:
    os.truncate(f"{path}-wal", 100)


# What `check_log` asks the system first: the length, the header, the last frame.
LOOKS = ["fstat 1", "pread 1", "pread 2"]


def before(look: str, change: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have the log changed just before a look at it; the looks as they come."""
    looks: list[str] = []

    def watched(name: str) -> Callable[..., Any]:
        original = getattr(os, name)

        def call(*arguments: Any) -> Any:
            looks.append(f"{name} {1 + sum(name in done for done in looks)}")
            if looks[-1] == look:
                change()
            return original(*arguments)

        return call

    for name in ("fstat", "pread"):
        monkeypatch.setattr(os, name, watched(name))
    return looks


@pytest.mark.parametrize("change", [write_back, write_back_and_begin_anew])
@pytest.mark.parametrize("look", LOOKS)
def test_a_checkpoint_by_another_process_is_no_cut_log(
    db: Database, look: str, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = OpenFiles(db)
    with monkeypatch.context() as patched:
        looks = before(look, lambda: change(files.path), patched)
        files.check_log()
    assert look in looks
    add(db, 1)
    files.check_log()
    files.close()


@pytest.mark.parametrize("look", LOOKS)
def test_a_log_that_is_cut_at_any_moment_is_seen_at_once(
    db: Database, look: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = OpenFiles(db)
    with monkeypatch.context() as patched:
        before(look, lambda: cut(files.path), patched)
        with pytest.raises(LogCut):
            files.check_log()
    files.close()


def test_handles_are_closed_once_nobody_has_them(db: Database) -> None:
    files = OpenFiles(db)
    handles = files.database, files.log
    del files
    for handle in handles:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(handle)
