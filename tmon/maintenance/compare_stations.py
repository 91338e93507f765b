"""The two sides of `tmon compare`: a database file, or a published Datasette; both answer SQL."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from tmon.core import checksum
from tmon.core.errors import TmonError
from tmon.db.connect import RefusedDatabase, open_migrated_for_reading, sqlite3
from tmon.db.sqlite_errors import explain, primary_code

Row = tuple[Any, ...]
Values = Mapping[str, int | str]


class CannotCompare(TmonError):
    """One of the two can't be asked; the message names it."""


class TooCostly(Exception):
    """The server refuses this query: it takes too long, or too much memory. Ask for less."""


class ComparedStation(Protocol):
    """One of the two stations.

    Its rows are those of a published database, with SQLite's own types, except that an
    address has null for an infinite number.
    """

    name: str

    def rows(self, sql: str, values: Values) -> list[Row]:
        """The rows of a query with named parameters, at most 10,000.

        Raises:
            TooCostly: ask for less.
            CannotCompare: the station doesn't answer.
        """
        ...

    def close(self) -> None: ...


class FileStation:
    """A database file, whether or not a station runs on it; nothing is written."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        try:
            self._db = open_migrated_for_reading(path)
        except RefusedDatabase as error:
            raise CannotCompare(str(error)) from error
        except sqlite3.Error as error:
            other = primary_code(error) == sqlite3.SQLITE_NOTADB
            why = "not a tmon database" if other else explain(error)
            raise CannotCompare(f"{path}: {why}") from error
        checksum.register(self._db.conn)

    def rows(self, sql: str, values: Values) -> list[Row]:
        try:
            return [tuple(row) for row in self._db.execute(sql, dict(values)).fetchall()]
        except sqlite3.DatabaseError as error:
            raise CannotCompare(f"{self.name}: {explain(error)}") from error

    def close(self) -> None:
        self._db.close()
