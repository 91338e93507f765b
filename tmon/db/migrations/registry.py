"""The one list that all migrations are in, and what they are written with."""

from textwrap import dedent

from sqlite_utils import Database, Migrations
from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from tmon.core.time import DAY_MS as DAY_MS
from tmon.core.time import HOUR_MS as HOUR_MS

migrations = Migrations("tmon")


def floor(column: str, step_ms: int) -> str:
    """SQL: the step that an instant lies in. Times before 1970 round down too."""
    return f"({column} - (({column} % {step_ms}) + {step_ms}) % {step_ms})"


def run(db: Database, sql: str) -> None:
    """Run statements in the caller's transaction, which the driver's own ``executescript`` ends.

    Each ends at a line's end. SQLite keeps their text, and Datasette shows it to people.
    """
    statement = ""
    for line in dedent(sql).splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            db.execute(statement)
            statement = ""
    if statement.strip():
        raise ValueError(f"a statement without its end: {statement}")
