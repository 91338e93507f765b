"""The one list that all migrations are in, and what they are written with."""

from textwrap import dedent

from sqlite_utils import Database, Migrations

migrations = Migrations("tmon")

HOUR_MS = 3_600_000
DAY_MS = 86_400_000


def floor(column: str, step_ms: int) -> str:
    """SQL: the step that an instant lies in. Times before 1970 round down too."""
    return f"({column} - (({column} % {step_ms}) + {step_ms}) % {step_ms})"


def run(db: Database, sql: str) -> None:
    """Run statements; SQLite keeps their text, and Datasette shows it to people."""
    db.executescript(dedent(sql))
