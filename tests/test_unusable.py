"""A database that can't be used: one line that says what to do, from whatever command."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.maintenance.backup_files import station
from tests.station import tmon
from tmon.db.connect import open_database, open_for_reading, sqlite3
from tmon.db.sqlite_errors import explain

COMMANDS: dict[str, tuple[str, ...]] = {
    "token get": ("token", "get", "attic"),
    "token list": ("token", "list"),
    "mute": ("mute", "basement", "2h"),
    "stats": ("stats",),
    "backup": ("backup", "kept"),
    "serve": ("serve", "--port", "0", "--datasette-port", "0"),
    "serve ingest": ("serve", "ingest", "--port", "0"),
    "serve datasette": ("serve", "datasette", "--datasette-port", "0"),
    "remove-ahead": ("remove-ahead", "--yes"),
    "import": ("import", "some.csv", "--node", "attic", "--time", "t", "--value", "v=x:V"),
}
PLACES: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "device": lambda path: path.symlink_to("/dev/zero"),
}


def failed(folder: Path, *command: str) -> str:
    (folder / "some.csv").write_text("t,v\n2026-01-01T00:00:00Z,1\n")
    ran = tmon(folder, *command)
    assert (ran.returncode, ran.stdout) == (1, "")
    [line] = ran.stderr.splitlines()
    return str(line)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_no_file_is_said_to_be_none(tmp_path: Path, command: str, place: str) -> None:
    PLACES[place](tmp_path / "tmon.db")
    told = failed(tmp_path, *COMMANDS[command])
    assert told == "Error: tmon.db: not a file; set TMON_DB to the database's file"


@pytest.mark.parametrize("place", PLACES)
def test_restore_replaces_only_a_file(tmp_path: Path, place: str) -> None:
    station(tmp_path / "other", 10)
    PLACES[place](tmp_path / "tmon.db")
    for force in ((), ("--force",)):
        assert "tmon.db: not a file" in failed(tmp_path, "restore", "other/tmon.db", *force)


@pytest.mark.parametrize("place", PLACES)
def test_check_says_the_same_as_a_finding(tmp_path: Path, place: str) -> None:
    PLACES[place](tmp_path / "tmon.db")
    ran = tmon(tmp_path, "check")
    assert ran.returncode == 2
    assert "T16 critical: database: tmon.db: not a file; set TMON_DB" in ran.stdout
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("command", ["token get", "mute", "stats", "serve", "serve ingest"])
def test_a_damaged_file_is_said_to_be_damaged(tmp_path: Path, command: str) -> None:
    path = station(tmp_path, 10)
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xa5" * 3000)
    told = failed(tmp_path, *COMMANDS[command])
    assert "Error: tmon.db: " in told
    assert "the file is damaged: stop tmon" in told
    assert "`tmon restore` the newest" in told


def test_damage_that_is_met_later_is_one_line_too(tmp_path: Path) -> None:
    path = station(tmp_path, 5000)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 3)
        file.write(b"\xa5" * (path.stat().st_size // 2))
    assert "the file is damaged: stop tmon" in failed(tmp_path, "rollup", "--check")


@pytest.mark.parametrize("command", ["token get", "mute"])
def test_a_locked_database_says_to_try_again(tmp_path: Path, command: str) -> None:
    with open_database(station(tmp_path, 10)) as db:
        db.execute("begin immediate")
        told = failed(tmp_path, *COMMANDS[command])
    assert "database is locked; another program writes to it: try again" in told


def fill_up(path: Path) -> None:
    with open_database(path) as db:
        db.execute("pragma max_page_count = 1")
        db.execute("insert into chores values ('backup', 0, hex(zeroblob(99999)))")


def write_read_only(path: Path) -> None:
    with open_for_reading(path) as db:
        db.execute("delete from readings")


@pytest.mark.parametrize(
    ("fails", "advice"),
    [(fill_up, "make room, and try again"), (write_read_only, "the user that runs tmon")],
)
def test_what_sqlite_says_comes_with_what_to_do(
    tmp_path: Path, fails: Callable[[Path], None], advice: str
) -> None:
    with pytest.raises(sqlite3.OperationalError) as error:
        fails(station(tmp_path, 10))
    assert advice in explain(error.value)
