"""A connection for SQL that anybody may send: it reads the one file, within limits."""

import ctypes
import sqlite3 as names  # for its constants; Datasette may run on another build of SQLite
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Any, Self

from datasette import hookimpl
from datasette.utils.sqlite import sqlite3

# All that a statement may do; the rest is denied. Datasette's own pages need no more
# (tests/publish/test_guard.py compares this with what they are seen to do).
ACTIONS = frozenset(
    (names.SQLITE_SELECT, names.SQLITE_READ, names.SQLITE_FUNCTION, names.SQLITE_RECURSIVE)
)
PRAGMAS = frozenset(
    (
        *("foreign_key_list", "index_info", "index_list", "table_info", "table_xinfo"),
        "recursive_triggers",  # sqlite-utils sets it, for writes that nobody can make here
    )
)
PRAGMAS_WITHOUT_VALUE = frozenset(("database_list", "schema_version", "table_list"))
# Made by SQLite, not in the file: its path, each of its pages, what else is asked of it.
HIDDEN_TABLES = frozenset(
    ("pragma_database_list", "dbstat", "sqlite_dbpage", "sqlite_stmt", "bytecode", "tables_used")
)

# The time limit is looked at between two steps of a statement, never within one function
# call: these take seconds or gigabytes in a single call, or reach out of the file.
DENIED_FUNCTIONS = frozenset(
    (
        *("printf", "format", "randomblob", "zeroblob", "unhex"),
        *("json_patch", "jsonb_patch", "json_pretty"),
        *("load_extension", "fts3_tokenizer", "sqlite_log"),
        *("rtreecheck", "rtreedepth", "rtreenode"),
    )
)

# At these lengths no other call takes more than 10 ms (docs/decisions/0005).
LIMITS = {
    names.SQLITE_LIMIT_LENGTH: 32 * 1024,  # bytes of a text, a blob, a row
    names.SQLITE_LIMIT_SQL_LENGTH: 64 * 1024,
    names.SQLITE_LIMIT_COLUMN: 200,
    names.SQLITE_LIMIT_EXPR_DEPTH: 200,
    names.SQLITE_LIMIT_COMPOUND_SELECT: 50,
    names.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 200,
    names.SQLITE_LIMIT_ATTACHED: 0,
}

# These take time with the product of two lengths. One row can need all calls of a
# statement, and nothing is interrupted within a row.
QUADRATIC_FUNCTIONS = frozenset(("instr", "replace", "glob", "trim", "ltrim", "rtrim"))
QUADRATIC_CALLS = 32
# SQLite asks about each table, column and function as often as it copies a view or a WITH.
PARTS = 5_000

# For all connections together: sorting and WITH keep their rows in memory. What the allocator
# takes for eight threads is up to 2.4 times as much.
HEAP_LIMIT_BYTES = 96 * 1024 * 1024

# Of the rows of one answer, weighed by what it takes to hold them and to write them out.
ANSWER_LIMIT_BYTES = 8 * 1024 * 1024

INTERRUPTED = "interrupted"  # SQLite's own word, by which Datasette knows it
ONLY_READING = "not authorized: SQL can only read here"
TOO_COMPLEX = (
    "too complex: it takes in the same tables or views too many times, or calls"
    f" {', '.join(sorted(QUADRATIC_FUNCTIONS))} more than {QUADRATIC_CALLS} times"
)

# SQLite's own takes 2 s for 30,000 bytes of which the last of 30,000 characters are cut off.
STRIPS = {"trim": str.strip, "ltrim": str.lstrip, "rtrim": str.rstrip}

TimeIsUp = Callable[[], int | None]


@dataclass
class Rendering:
    """What a row weighs in the form that a request asks for.

    A cell weighs ``cell_bytes`` or, where that is more, its column's name, which most forms
    repeat in each row; and its text. Names and texts count ``text_copies`` times.
    """

    cell_bytes: int = 32
    text_copies: int = 2  # as JSON, each byte can become six
    blob_bytes: int = 0  # of the link that stands for a blob
    whole: bool = False  # must not be cut off at Datasette's ``max_returned_rows``
    truncated: bool = False  # it was

    @classmethod
    def of(cls, path: str, parameters: Mapping[str, list[str]], query_bytes: int) -> Self:
        """The form that an address asks for.

        In HTML each cell has elements around it, a byte of a text can become five, and
        Python holds a page in several copies, of four bytes a character if one of them is wide.
        """
        name, _, extension = path.rpartition("/")[2].rpartition(".")
        extras = ",".join(parameters.get("_extra", ()))
        is_html = not name or "render_cell" in extras
        link_bytes = PERCENT_ENCODED * query_bytes
        if is_html:
            return cls(cell_bytes=64, text_copies=4, blob_bytes=2 * link_bytes)
        return cls(blob_bytes=link_bytes, whole=extension == "csv")


PERCENT_ENCODED = 3  # times as long as it was, at most
rendering: ContextVar[Rendering] = ContextVar("rendering")  # of the request that is worked on


class LimitedConnection(sqlite3.Connection):  # type: ignore[misc]  # pysqlite3 ships no types
    """Reads one file; no statement writes, leaves a transaction open, or exceeds the limits.

    The time limit is the progress handler that the caller sets. SQLite asks it only
    every 1,000 steps, and not while it prepares a statement: so the authorizer asks it
    too, and ``interrupt_if_time_is_up`` from another thread.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._time_is_up: TimeIsUp | None = None
        self._time_limit = Lock()
        self._begin()
        _limit_sizes(self)
        self.set_authorizer(self._authorize)

    def cursor(self) -> sqlite3.Cursor:
        """One whose rows are weighed, and turned into what ``row_factory`` makes."""
        cursor = super().cursor(_Cursor)
        cursor.make_row = cursor.row_factory
        cursor.row_factory = _weigh
        return cursor

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        return self.cursor().execute(sql, parameters)

    def set_progress_handler(self, handler: TimeIsUp | None, n: int) -> None:
        """Set the time limit; None ends it."""
        with self._time_limit:
            self._time_is_up = handler
            super().set_progress_handler(handler, n)

    def interrupt_if_time_is_up(self) -> None:
        """Stop the statement that runs, before its next row at the latest."""
        with self._time_limit:
            if self._time_is_up and self._time_is_up():
                self.interrupt()

    def _begin(self) -> None:
        self._parts = self._quadratic_calls = 0
        self._refusal = ""

    def _authorize(self, action: int, first: str | None, second: str | None, *_: str | None) -> int:
        self._parts += 1
        self._quadratic_calls += action == names.SQLITE_FUNCTION and second in QUADRATIC_FUNCTIONS
        if self._parts > PARTS or self._quadratic_calls > QUADRATIC_CALLS:
            self._refusal = TOO_COMPLEX
        elif self._time_is_up and self._time_is_up():
            self._refusal = INTERRUPTED
        elif may(action, first, second):
            return names.SQLITE_OK
        elif action not in {names.SQLITE_FUNCTION, names.SQLITE_READ}:  # SQLite names those
            self._refusal = ONLY_READING
        return names.SQLITE_DENY


class _Cursor(sqlite3.Cursor):  # type: ignore[misc]  # pysqlite3 ships no types
    make_row: Callable[[Any, tuple[Any, ...]], Any] | None
    rendering: Rendering
    cells_bytes: int | None  # of each row; None before the first
    bytes_left: int

    def execute(self, sql: str, parameters: Any = ()) -> Self:
        connection = self.connection
        connection._begin()
        self.rendering, self.cells_bytes = rendering.get(Rendering()), None
        self.bytes_left = ANSWER_LIMIT_BYTES
        try:
            super().execute(sql, parameters)
        except sqlite3.DatabaseError as error:
            if connection._refusal:
                raise sqlite3.OperationalError(connection._refusal) from error
            raise
        finally:
            if connection.in_transaction:  # it would keep its snapshot, and the log with it
                connection.rollback()
        return self


def _weigh(cursor: _Cursor, values: tuple[Any, ...]) -> Any:
    """A row, or a MemoryError where the rows grow beyond ``ANSWER_LIMIT_BYTES``."""
    form = cursor.rendering
    if cursor.cells_bytes is None:
        names = (len(name.encode()) for name, *_ in cursor.description)
        cursor.cells_bytes = sum(max(form.cell_bytes, form.text_copies * name) for name in names)
    texts = sum(len(value) for value in values if isinstance(value, str | bytes))
    blobs = sum(isinstance(value, bytes) for value in values) if form.blob_bytes else 0
    cursor.bytes_left -= cursor.cells_bytes + form.text_copies * texts + form.blob_bytes * blobs
    if cursor.bytes_left < 0:
        cursor.close()  # or it keeps its snapshot for as long as somebody keeps the error
        raise MemoryError
    return cursor.make_row(cursor, values) if cursor.make_row else values


def _strip(strip: Callable[[str, str], str], text: Any, characters: Any) -> str | None:
    if text is None or characters is None:
        return None
    return strip(str(text), "".join({*str(characters)}))


@hookimpl
def extra_template_vars(view_name: str) -> dict[str, bool] | None:
    """``truncated`` for the page of an answer to SQL."""
    return {"truncated": rendering.get(Rendering()).truncated} if view_name == "database" else None


@hookimpl
def prepare_connection(conn: sqlite3.Connection, database: str) -> None:
    """Limit what plain Datasette opened, as far as one can from outside.

    `datasette --plugins-dir plugins` reads the file with connections of its own. They can't
    weigh an answer, nor end one call or prepare in time; all else holds for them too.
    """
    if database == "_memory" or isinstance(conn, LimitedConnection):
        return
    conn.isolation_level = None  # or a write that is refused leaves a transaction open
    _limit_sizes(conn)
    parts = 0

    def begin(_sql: str) -> None:
        nonlocal parts
        parts = 0

    def authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
        nonlocal parts
        parts += 1
        if parts <= PARTS and may(action, first, second):
            return names.SQLITE_OK
        parts = 0  # this statement ends here
        return names.SQLITE_DENY

    conn.set_trace_callback(begin)
    conn.set_authorizer(authorize)


def _limit_sizes(connection: sqlite3.Connection) -> None:
    setlimit = _setlimit(connection)
    for limit, most in LIMITS.items():
        setlimit(limit, most)
    for name, strip in STRIPS.items():
        connection.create_function(name, 2, partial(_strip, strip), deterministic=True)
    connection.execute("pragma temp_store = memory")  # not on the disk, where nothing limits it
    connection.execute(f"pragma hard_heap_limit = {HEAP_LIMIT_BYTES}")


def may(action: int, first: str | None, second: str | None) -> bool:
    """Whether a statement may do this; what the two names are depends on the action."""
    if action == names.SQLITE_FUNCTION:
        return second not in DENIED_FUNCTIONS
    if action == names.SQLITE_READ:
        return (first or "").lower() not in HIDDEN_TABLES  # as the statement spells it
    if action == names.SQLITE_PRAGMA:
        return first in PRAGMAS or (first in PRAGMAS_WITHOUT_VALUE and second is None)
    if action == names.SQLITE_TRANSACTION:
        return first == "ROLLBACK"
    if action == names.SQLITE_UPDATE:
        # SQLite 3.40 asks for this when json_each() is first used. What does update
        # sqlite_master, SQLite refuses by itself.
        return first == "sqlite_master"
    return action in ACTIONS


def _setlimit(connection: sqlite3.Connection) -> Callable[[int, int], int]:
    """SQLite's ``sqlite3_limit`` for one connection.

    pysqlite3 has no method for it, but its library exports the function, and
    the pointer that it takes is the first field of the connection object.
    """
    if hasattr(connection, "setlimit"):
        method: Callable[[int, int], int] = connection.setlimit
        return method
    library = ctypes.CDLL(sys.modules["pysqlite3._sqlite3"].__file__)
    pointer = ctypes.c_void_p.from_address(id(connection) + object.__basicsize__)
    return lambda limit, most: library.sqlite3_limit(pointer, limit, most)
