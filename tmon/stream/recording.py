"""A connection that records what an owner's command writes, to be written on all machines."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from tmon.stream.messages import Parameters, Statement, Value

WRITE = "write"
WRITES = (sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE)
# Another machine runs the same statement later, on other connections: these would tell it something
# else. What depends on the time or on chance is a parameter instead.
VARYING = frozenset(
    (
        *("random", "randomblob", "unixepoch", "julianday", "datetime", "date", "time"),
        *("current_timestamp", "current_date", "current_time"),
        *("last_insert_rowid", "changes", "total_changes"),
    )
)


class RecordingConnection(sqlite3.Connection):
    """Records the statements that write to the file, with their parameters.

    Only while it records, it may write: it is for transactions that are rolled back, and the
    statements run on each machine's file instead.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.statements: list[Statement] = []
        self._is_recording = False
        self._known: dict[str, frozenset[str]] = {}  # by SQL, as SQLite tells it only once
        self._prepared: set[str] = set()  # of the present statement: "write", and its functions
        self._changes = 0
        self.set_authorizer(self._authorize)

    def begin(self) -> None:
        """Begin to record a transaction."""
        super().execute("pragma query_only = off")
        super().execute("begin immediate")
        self.statements = []
        self._changes = self.total_changes
        self._is_recording = True

    def end(self) -> None:
        """Undo the transaction, and allow no more writing."""
        self._is_recording = False
        if self.in_transaction:
            super().execute("rollback")
        super().execute("pragma query_only = on")

    @property
    def has_changes(self) -> bool:
        """Whether the statements have changed a row."""
        return bool(self.total_changes > self._changes)

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        """Execute a statement, and record it if it writes."""
        self._prepared.clear()
        cursor = super().execute(sql, parameters)
        self._record(sql, [parameters])
        return cursor

    def executemany(self, sql: str, parameters: Iterable[Any]) -> sqlite3.Cursor:
        """Execute a statement with each of some parameters, and record it as often."""
        every = [*parameters]
        self._prepared.clear()
        cursor = super().executemany(sql, every)
        self._record(sql, every)
        return cursor

    def _authorize(
        self, action: int, _table: str | None, name: str | None, database: str | None, _: str | None
    ) -> int:
        """SQLite calls this while it prepares a statement, with each thing that this will do."""
        if action in WRITES and database == "main":
            self._prepared.add(WRITE)
        elif action == sqlite3.SQLITE_FUNCTION:
            self._prepared.add(str(name))
        return int(sqlite3.SQLITE_OK)

    def _record(self, sql: str, every: Sequence[Any]) -> None:
        does = self._known.setdefault(sql, frozenset(self._prepared))
        if not self._is_recording or WRITE not in does:
            return
        if does & VARYING:
            raise ValueError(f"{', '.join(does & VARYING)} differs on other machines: {sql}")
        self.statements += [(sql, _plain(parameters)) for parameters in every]


def _plain(parameters: Mapping[str, Any] | Sequence[Any]) -> Parameters:
    """Parameters as a message holds them: SQLite stores a bool as a number."""
    if isinstance(parameters, Mapping):
        return {name: _number(value) for name, value in parameters.items()}
    return [_number(value) for value in parameters]


def _number(value: Any) -> Value:
    return int(value) if isinstance(value, bool) else value
