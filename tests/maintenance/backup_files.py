"""Small stations to back up and restore, and helpers to list and damage files."""

from pathlib import Path

from sqlite_utils import Database

from tmon.core.settings import Settings
from tmon.db import tokens
from tmon.db.connect import open_database

MINUTE_MS = 60_000


def station(folder: Path, readings: int = 1000) -> Path:
    """A database with one sensor and a secret; returns its path."""
    folder.mkdir(exist_ok=True)
    token(folder)
    with open_database(folder / "tmon.db") as db:
        db.execute("insert into sensors (id, node, name, unit) values (1, 'basement', 't', '°C')")
        add(db, readings)
    return folder / "tmon.db"


def add(db: Database, readings: int) -> None:
    """Append so many readings, a minute apart."""
    db.execute(
        """
        with recursive counted (n) as (
            select (select count(*) from readings) union all select n + 1 from counted limit ?
        )
        insert into readings (sensor, measured_ms, value) select 1, n * ?, n from counted
        """,
        [readings, MINUTE_MS],
    )


def token(folder: Path) -> str:
    """As `tmon token get` prints it."""
    settings = Settings.load({"TMON_DB": str(folder / "tmon.db")})
    return next(tokens.get_or_create(settings, ["basement"]))


def listed(folder: Path) -> list[str]:
    """The relative paths of all files in a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def damage(path: Path) -> None:
    """Overwrite the middle of a file."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2 // 4096 * 4096)
        file.write(b"\xa5" * 4096)


def one_line(stderr: str) -> str:
    """The single error line of a command that failed."""
    [line] = stderr.splitlines()
    assert line.startswith("Error: ")
    return line
