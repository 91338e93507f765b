"""The registry of all migrations, and helpers to write them with."""

from textwrap import dedent

from sqlite_utils import Database, Migrations
from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from tmon.core.time import DAY_MS as DAY_MS
from tmon.core.time import HOUR_MS as HOUR_MS

migrations = Migrations("tmon")


def floor(column: str, step_ms: int) -> str:
    """SQL that rounds an instant down to a multiple of ``step_ms``, before 1970 too."""
    return f"({column} - (({column} % {step_ms}) + {step_ms}) % {step_ms})"


def run(db: Database, sql: str) -> None:
    """Run statements within the caller's transaction, which ``executescript`` would commit.

    Each statement ends at the end of a line. SQLite keeps their text, and Datasette shows it.
    """
    statement = ""
    for line in dedent(sql).splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            db.execute(statement)
            statement = ""
    if statement.strip():
        raise ValueError(f"unfinished statement: {statement}")
