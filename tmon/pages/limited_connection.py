"""A SQLite connection for SQL from anybody: read-only, with limits on time and memory."""

import ctypes
import sqlite3 as names  # for constants: Datasette may use another build of SQLite
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Any, Self

from datasette import hookimpl
from datasette.utils.sqlite import sqlite3

# What a statement may do; all else is denied. Datasette's own pages need no more
# (tests/publish/test_authorizer.py compares this with what they do).
ACTIONS = frozenset(
    (names.SQLITE_SELECT, names.SQLITE_READ, names.SQLITE_FUNCTION, names.SQLITE_RECURSIVE)
)
PRAGMAS = frozenset(
    (
        *("foreign_key_list", "index_info", "index_list", "table_info", "table_xinfo"),
        "recursive_triggers",  # sqlite-utils sets it; it only matters for writes
    )
)
PRAGMAS_WITHOUT_VALUE = frozenset(("database_list", "schema_version", "table_list"))
# Virtual tables of SQLite that show the file's path, its raw pages, or others' statements.
HIDDEN_TABLES = frozenset(
    ("pragma_database_list", "dbstat", "sqlite_dbpage", "sqlite_stmt", "bytecode", "tables_used")
)

# The time limit is checked between two steps of a statement, never within a function call.
# These take seconds or gigabytes in a single call, or read other files.
DENIED_FUNCTIONS = frozenset(
    (
        *("printf", "format", "randomblob", "zeroblob", "unhex"),
        *("json_patch", "jsonb_patch", "json_pretty"),
        *("load_extension", "fts3_tokenizer", "sqlite_log"),
        *("rtreecheck", "rtreedepth", "rtreenode"),
    )
)

# With these limits no other function call takes more than 10 ms (docs/decisions/0005).
LIMITS = {
    names.SQLITE_LIMIT_LENGTH: 32 * 1024,  # bytes of a text, a blob, a row
    names.SQLITE_LIMIT_SQL_LENGTH: 64 * 1024,
    names.SQLITE_LIMIT_COLUMN: 200,
    names.SQLITE_LIMIT_EXPR_DEPTH: 200,
    names.SQLITE_LIMIT_COMPOUND_SELECT: 50,
    names.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 200,
    names.SQLITE_LIMIT_ATTACHED: 0,
}

# Their time grows with the product of two lengths, and a statement may call all of them for one
# row, within which it can't be interrupted.
QUADRATIC_FUNCTIONS = frozenset(("instr", "replace", "glob", "trim", "ltrim", "rtrim"))
MAX_QUADRATIC_CALLS = 32
# SQLite calls the authorizer for each table, column and function, again for each use of a view or
# a WITH.
MAX_AUTHORIZER_CALLS = 5_000

# Of all connections together, as sorting and WITH keep rows in memory. With eight threads the
# allocator takes up to 2.4 times as much.
HEAP_LIMIT_BYTES = 96 * 1024 * 1024

# The memory that one answer's rows may take until they are sent, as ``RowCost`` estimates it.
ANSWER_LIMIT_BYTES = 8 * 1024 * 1024

INTERRUPTED = "interrupted"  # SQLite's own message, which Datasette looks for
ONLY_READING = "not authorized: SQL can only read here"
TOO_COMPLEX = (
    "too complex: it takes in the same tables or views too many times, or calls"
    f" {', '.join(sorted(QUADRATIC_FUNCTIONS))} more than {MAX_QUADRATIC_CALLS} times"
)

# SQLite's own trim() takes 2 s for 30,000 bytes with 30,000 characters to trim.
STRIPS = {"trim": str.strip, "ltrim": str.lstrip, "rtrim": str.rstrip}

TimeIsUp = Callable[[], int | None]


@dataclass
class RowCost:
    """Estimates the memory for a row in the format that a request asks for.

    A cell takes ``cell_bytes``, or its column's name if that is more, as most formats repeat it
    in each row; and its text. Names and texts count ``text_copies`` times.
    """

    cell_bytes: int = 32
    text_copies: int = 2  # in JSON, a byte can become six
    blob_bytes: int = 0  # of the link in place of a blob
    must_be_complete: bool = False  # else it may end at Datasette's ``max_returned_rows``
    truncated: bool = False  # it did

    @classmethod
    def of(cls, path: str, parameters: Mapping[str, list[str]], query_bytes: int) -> Self:
        """The cost in the format that an address asks for.

        In HTML each cell is inside elements, a byte of text can become five, and Python holds
        several copies of a page, with four bytes a character if one of them needs so many.
        """
        name, _, extension = path.rpartition("/")[2].rpartition(".")
        extras = ",".join(parameters.get("_extra", ()))
        is_html = not name or "render_cell" in extras
        link_bytes = 3 * query_bytes  # percent-encoded
        if is_html:
            return cls(cell_bytes=64, text_copies=4, blob_bytes=2 * link_bytes)
        return cls(blob_bytes=link_bytes, must_be_complete=extension == "csv")


row_cost: ContextVar[RowCost] = ContextVar("row_cost")  # of the present request


class LimitedConnection(sqlite3.Connection):  # type: ignore[misc]  # pysqlite3 ships no types
    """A connection whose statements can't write, hold a transaction open, or exceed the limits.

    The time limit is the caller's progress handler. SQLite calls it only every 1,000 steps, and
    not while it prepares a statement. So the authorizer calls it too, and another thread does
    by ``interrupt_if_time_is_up``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._time_is_up: TimeIsUp | None = None
        self._time_limit = Lock()
        self._reset_counts()
        _set_limits(self)
        self.set_authorizer(self._authorize)

    def cursor(self) -> sqlite3.Cursor:
        """A cursor that counts the cost of each row before ``row_factory`` makes it."""
        cursor = super().cursor(_Cursor)
        cursor.make_row = cursor.row_factory
        cursor.row_factory = _count_cost
        return cursor

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        return self.cursor().execute(sql, parameters)

    def set_progress_handler(self, handler: TimeIsUp | None, n: int) -> None:
        """Set the time limit; None ends it."""
        with self._time_limit:
            self._time_is_up = handler
            super().set_progress_handler(handler, n)

    def interrupt_if_time_is_up(self) -> None:
        """Interrupt the running statement, at the latest before its next row."""
        with self._time_limit:
            if self._time_is_up and self._time_is_up():
                self.interrupt()

    def _reset_counts(self) -> None:
        self._authorizer_calls = self._quadratic_calls = 0
        self._refusal = ""

    def _authorize(self, action: int, first: str | None, second: str | None, *_: str | None) -> int:
        self._authorizer_calls += 1
        self._quadratic_calls += action == names.SQLITE_FUNCTION and second in QUADRATIC_FUNCTIONS
        if (
            self._authorizer_calls > MAX_AUTHORIZER_CALLS
            or self._quadratic_calls > MAX_QUADRATIC_CALLS
        ):
            self._refusal = TOO_COMPLEX
        elif self._time_is_up and self._time_is_up():
            self._refusal = INTERRUPTED
        elif is_allowed(action, first, second):
            return names.SQLITE_OK
        elif action not in {
            names.SQLITE_FUNCTION,
            names.SQLITE_READ,
        }:  # SQLite's message names those
            self._refusal = ONLY_READING
        return names.SQLITE_DENY


class _Cursor(sqlite3.Cursor):  # type: ignore[misc]  # pysqlite3 ships no types
    make_row: Callable[[Any, tuple[Any, ...]], Any] | None
    cost: RowCost
    cells_bytes: int | None  # of each row; None before the first
    bytes_left: int

    def execute(self, sql: str, parameters: Any = ()) -> Self:
        connection = self.connection
        connection._reset_counts()
        self.cost, self.cells_bytes = row_cost.get(RowCost()), None
        self.bytes_left = ANSWER_LIMIT_BYTES
        try:
            super().execute(sql, parameters)
        except sqlite3.DatabaseError as error:
            if connection._refusal:
                raise sqlite3.OperationalError(connection._refusal) from error
            raise
        finally:
            if connection.in_transaction:  # it would keep an old snapshot, and the WAL would grow
                connection.rollback()
        return self


def _count_cost(cursor: _Cursor, values: tuple[Any, ...]) -> Any:
    """Row factory that raises MemoryError when the rows exceed ``ANSWER_LIMIT_BYTES``."""
    cost = cursor.cost
    if cursor.cells_bytes is None:
        names = (len(name.encode()) for name, *_ in cursor.description)
        cursor.cells_bytes = sum(max(cost.cell_bytes, cost.text_copies * name) for name in names)
    texts = sum(len(value) for value in values if isinstance(value, str | bytes))
    blobs = sum(isinstance(value, bytes) for value in values) if cost.blob_bytes else 0
    cursor.bytes_left -= cursor.cells_bytes + cost.text_copies * texts + cost.blob_bytes * blobs
    if cursor.bytes_left < 0:
        cursor.close()  # or the error would keep its snapshot open
        raise MemoryError
    return cursor.make_row(cursor, values) if cursor.make_row else values


def _strip(strip: Callable[[str, str], str], text: Any, characters: Any) -> str | None:
    if text is None or characters is None:
        return None
    return strip(str(text), "".join({*str(characters)}))


@hookimpl
def extra_template_vars(view_name: str) -> dict[str, bool] | None:
    """Tell the page of a query whether its rows are ``truncated``."""
    return {"truncated": row_cost.get(RowCost()).truncated} if view_name == "database" else None


@hookimpl
def prepare_connection(conn: sqlite3.Connection, database: str) -> None:
    """Limit a connection of plain Datasette (`datasette --plugins-dir plugins`).

    Such a connection can't limit the size of an answer, or the time of a single function call or
    of preparing a statement; all other limits apply.
    """
    if database == "_memory" or isinstance(conn, LimitedConnection):
        return
    conn.isolation_level = None  # or a denied write would leave a transaction open
    _set_limits(conn)
    calls = 0

    def reset(_sql: str) -> None:
        nonlocal calls
        calls = 0

    def authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
        nonlocal calls
        calls += 1
        if calls <= MAX_AUTHORIZER_CALLS and is_allowed(action, first, second):
            return names.SQLITE_OK
        calls = 0  # the statement ends here
        return names.SQLITE_DENY

    conn.set_trace_callback(reset)
    conn.set_authorizer(authorize)


def _set_limits(connection: sqlite3.Connection) -> None:
    setlimit = _setlimit(connection)
    for limit, most in LIMITS.items():
        setlimit(limit, most)
    for name, strip in STRIPS.items():
        connection.create_function(name, 2, partial(_strip, strip), deterministic=True)
    connection.execute("pragma temp_store = memory")  # on disk it would have no limit
    connection.execute(f"pragma hard_heap_limit = {HEAP_LIMIT_BYTES}")


def is_allowed(action: int, first: str | None, second: str | None) -> bool:
    """Whether an action of SQLite's authorizer is allowed; its names depend on the action."""
    if action == names.SQLITE_FUNCTION:
        return second not in DENIED_FUNCTIONS
    if action == names.SQLITE_READ:
        return (first or "").lower() not in HIDDEN_TABLES  # in the statement's spelling
    if action == names.SQLITE_PRAGMA:
        return first in PRAGMAS or (first in PRAGMAS_WITHOUT_VALUE and second is None)
    if action == names.SQLITE_TRANSACTION:
        return first == "ROLLBACK"
    if action == names.SQLITE_UPDATE:
        # SQLite 3.40 needs this when json_each() is first used; SQLite itself refuses real updates
        # of sqlite_master.
        return first == "sqlite_master"
    return action in ACTIONS


def _setlimit(connection: sqlite3.Connection) -> Callable[[int, int], int]:
    """SQLite's ``sqlite3_limit`` for a connection.

    pysqlite3 has no method for it. Its library exports the function; the pointer that it takes
    is the first field of the connection object.
    """
    if hasattr(connection, "setlimit"):
        method: Callable[[int, int], int] = connection.setlimit
        return method
    library = ctypes.CDLL(sys.modules["pysqlite3._sqlite3"].__file__)
    pointer = ctypes.c_void_p.from_address(id(connection) + object.__basicsize__)
    return lambda limit, most: library.sqlite3_limit(pointer, limit, most)
