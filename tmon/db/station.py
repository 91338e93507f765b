"""What a round of checks looks at: the file, read only, at one instant."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sqlite_utils import Database

from tmon.core.settings import Settings
from tmon.db.connect import open_migrated_for_reading


class Chore(NamedTuple):
    """When something was done last, and what came of it."""

    done_ms: int
    outcome: str


Chores = Mapping[str, Chore]


@dataclass(frozen=True)
class Station:
    """One station as it is at ``now_ms``."""

    db: Database
    settings: Settings
    now_ms: int
    chores: Chores


@contextmanager
def opened(path: Path, now_ms: int) -> Iterator[Database]:
    """The file read-only, with ``now_ms`` as the time in its views.

    Raises:
        RefusedDatabase: there is none, or it is not of this tmon.
        sqlite3.Error: it can't be read.
    """
    with open_migrated_for_reading(path) as db:
        # What is silent is defined in the view `latest`, by this very function.
        db.conn.create_function("unixepoch", 0, lambda: now_ms // 1000, deterministic=True)
        yield db


def chores(db: Database) -> dict[str, Chore]:
    """What was done last, by name."""
    rows = db.execute("select name, done_ms, outcome from chores")
    return {name: Chore(done_ms, outcome) for name, done_ms, outcome in rows}


def remember(db: Database, done: Chores) -> None:
    """Note what was done; within a transaction of the caller's."""
    db.conn.executemany(
        "insert into chores (name, done_ms, outcome) values (?, ?, ?)"
        " on conflict (name) do update set done_ms = excluded.done_ms, outcome = excluded.outcome",
        [(name, *chore) for name, chore in done.items()],
    )
