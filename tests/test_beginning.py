"""Where a start makes a database or a secret, and where it refuses since one was lost."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.maintenance.backup_files import station, token
from tests.station import Process, tmon

ANEW = {"TMON_BEGIN_ANEW": "yes"}
BEGIN: dict[str, tuple[str, ...]] = {
    "serve": ("serve", "--port", "0", "--datasette-port", "0"),
    "serve ingest": ("serve", "ingest", "--port", "0"),
    "token get": ("token", "get", "attic"),
    "import": ("import", "some.csv", "--node", "attic", "--time", "t", "--value", "v=x:V"),
}


def refused(folder: Path, *arguments: str) -> str:
    """The one line by which a command refuses."""
    (folder / "some.csv").write_text("t,v\n2026-01-01T00:00:00Z,1\n")
    ran = tmon(folder, *arguments)
    assert (ran.returncode, ran.stdout) == (1, "")
    [line] = ran.stderr.splitlines()
    return str(line)


def lose(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("command", "how"), [*((command, lose) for command in BEGIN), ("serve ingest", empty)]
)
def test_no_empty_database_takes_the_place_of_one_that_was_lost(
    tmp_path: Path, command: str, how: Callable[[Path], None]
) -> None:
    how(station(tmp_path, 10))
    told = refused(tmp_path, *BEGIN[command])
    assert "tmon.db is missing or empty, and tmon.db.secret beside it" in told
    assert "tmon restore" in told
    assert "TMON_BEGIN_ANEW=yes" in told
    assert not (tmp_path / "tmon.db").exists() or not (tmp_path / "tmon.db").stat().st_size


def test_a_log_that_lies_beside_is_kept(tmp_path: Path) -> None:
    environ = {"TMON_SECRET": "a secret that is in no file"}
    (tmp_path / "tmon.db-wal").write_bytes(b"readings")
    ran = tmon(tmp_path, "token", "get", "attic", environ=environ)
    assert "tmon.db-wal beside it" in ran.stderr
    assert (tmp_path / "tmon.db-wal").read_bytes() == b"readings"


def test_who_says_so_begins_anew_with_the_secret_that_is_there(tmp_path: Path) -> None:
    lose(station(tmp_path, 10))
    secret = (tmp_path / "tmon.db.secret").read_bytes()
    assert tmon(tmp_path, "token", "get", "attic", environ=ANEW).returncode == 0
    assert tmon(tmp_path, "token", "get", "attic").returncode == 0
    assert (tmp_path / "tmon.db.secret").read_bytes() == secret


def sqlite_utils(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sqlite_utils", "token", "insert", "tmon.db", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", ["serve", "serve ingest", "token get"])
def test_a_lost_secret_is_not_replaced_while_there_are_nodes(tmp_path: Path, command: str) -> None:
    station(tmp_path, 10)
    (tmp_path / "tmon.db.secret").unlink()
    told = refused(tmp_path, *BEGIN[command])
    assert "tmon.db.secret: no such file, and the nodes' tokens need it" in told
    assert "backup" in told
    assert "TMON_BEGIN_ANEW=yes" in told
    assert not (tmp_path / "tmon.db.secret").exists()


def test_nor_by_sqlite_utils(tmp_path: Path) -> None:
    path = station(tmp_path, 10)
    (tmp_path / "tmon.db.secret").unlink()
    ran = sqlite_utils(tmp_path, "attic")
    assert ran.returncode == 1
    assert "the nodes' tokens need it" in ran.stderr
    lose(path)
    (tmp_path / "tmon.db.secret").write_text("of a database that was lost")
    assert "is missing or empty" in sqlite_utils(tmp_path, "attic").stderr
    assert not path.exists()


def test_rotating_a_token_makes_no_secret_either(tmp_path: Path) -> None:
    before = token(station(tmp_path, 10).parent)
    secret = (tmp_path / "tmon.db.secret").read_bytes()
    (tmp_path / "tmon.db.secret").unlink()
    assert tmon(tmp_path, "token", "rotate", "basement").returncode == 1
    (tmp_path / "tmon.db.secret").write_bytes(secret)
    assert token(tmp_path) == before


def test_who_says_so_gets_a_new_secret(tmp_path: Path) -> None:
    before = token(station(tmp_path, 10).parent)
    (tmp_path / "tmon.db.secret").unlink()
    flag = tmon(tmp_path, "token", "get", "basement", "--begin-anew", "yes")
    assert flag.returncode == 0
    assert flag.stdout.strip() == token(tmp_path) != before


def test_history_alone_needs_no_word_for_the_first_token(tmp_path: Path) -> None:
    (tmp_path / "some.csv").write_text("t,v\n2026-01-01T00:00:00Z,1\n")
    assert tmon(tmp_path, *BEGIN["import"]).returncode == 0
    assert tmon(tmp_path, "token", "get", "attic").returncode == 0


def test_a_first_start_in_an_empty_folder_asks_nothing(tmp_path: Path) -> None:
    process = Process(tmp_path, *BEGIN["serve ingest"])
    assert process.addresses(1)["ingest"]
    process.popen.terminate()
    assert process.end()[0] == 0
    assert (tmp_path / "tmon.db.secret").exists()
