"""Check a database file of unknown origin before it replaces a station's own.

SQLite executes what a file's schema says as soon as it is used: triggers run with each reading,
views and indexes with each page. So the tables and views of tmon must be exactly as tmon makes
them, and nothing else may act on them. What the owner has added is kept.
"""

from contextlib import closing
from pathlib import Path
from time import monotonic
from unicodedata import category

from sqlite_utils import Database
from sqlite_utils.db import quote_identifier

from tmon.core.errors import TmonError
from tmon.core.humanize import pluralize, printable
from tmon.core.names import is_node_name, is_sensor_name
from tmon.core.time import FIRST_MS, LAST_MS
from tmon.db.connect import (
    APPLICATION_ID,
    SchemaObject,
    applied_migrations,
    refuse_newer,
    schema_after,
    schema_objects,
    sqlite3,
)
from tmon.maintenance.snapshot import connect_untrusted

MOST_OBJECTS = 2_000  # tmon itself makes about 40
MOST_SHOWN = 80  # characters of a name
MOST_SQL_CHARACTERS = 1_000_000
# Of a row of the schema, or a text: pages read at most 32 KiB
# (tmon/pages/limited_connection.py), and Datasette wouldn't start.
MOST_OBJECT_BYTES = 30 * 1024
VIEW_S = 2.0  # to prepare a view, which takes twice as long for each level of views in it
UTF_8 = 1  # in a file's header
COMPUTED = -2  # an expression's column number in `pragma index_xinfo`

# SQLite normalizes how a definition begins, whatever was typed. A row that begins otherwise was
# written by other means, and may be something else than its type says.
BEGINNINGS = {
    "table": ("CREATE TABLE ",),
    "index": ("CREATE INDEX ", "CREATE UNIQUE INDEX "),
    "view": ("CREATE VIEW ",),
    "trigger": ("CREATE TRIGGER ",),
}
# `pragma module_list` has them only once they were used.
JSON_TABLES = ("json_each", "json_tree", "jsonb_each", "jsonb_tree")
# Tables that SQLite itself makes: for AUTOINCREMENT, and by ANALYZE.
SQLITE_TABLES = {
    "CREATE TABLE sqlite_sequence(name,seq)",
    "CREATE TABLE sqlite_stat1(tbl,idx,stat)",
    "CREATE TABLE sqlite_stat4(tbl,idx,neq,nlt,ndlt,sample)",
}


class Untrusted(TmonError):
    """A file's schema could act by itself, or isn't as tmon makes it."""


def vet(path: Path) -> list[str]:
    """Refuse a file whose schema isn't tmon's, or has additions that could act by themselves.

    Nothing of the file is executed, and nothing is written. Nobody may have it open.

    Returns:
        The owner's own tables, indexes and views.

    Raises:
        Untrusted: what is wrong with it.
        RefusedDatabase: it was made by a newer tmon.
    """
    try:
        with closing(connect_untrusted(path)) as conn:
            _refuse_header(path)
            db = Database(conn, execute_plugins=False)
            objects = schema_objects(db)
            _refuse_malformed(objects)
            _compare(db, objects, set())  # the table of migrations, before it is read
            refuse_newer(db, path)
            own = _compare(db, objects, applied_migrations(db))
            _refuse_additions(db, own)
            _refuse_names(db)
            _refuse_values(db, {*db.table_names()} - {one.name for one in own})
            _refuse_views(db, own)  # last: afterwards the connection's authorizer refuses all
    except MemoryError:
        raise Untrusted("its schema takes too much memory") from None
    except UnicodeDecodeError:  # of a text, or of SQLite's message that quotes one
        raise Untrusted("it is damaged: its texts are not UTF-8") from None
    except sqlite3.DatabaseError as error:
        raise Untrusted(f"it is damaged: {printable(str(error))}") from error
    return [f"{one.type} {_show(one.name)}" for one in own]


def _refuse_header(path: Path) -> None:
    """Check the file's first bytes (sqlite.org/fileformat.html)."""
    with path.open("rb") as file:
        header = file.read(100)
    if not header.startswith(b"SQLite format 3\0"):
        raise Untrusted("it is damaged: no SQLite database")
    cache_pages, encoding, application = (
        int.from_bytes(header[at : at + 4], "big") for at in (48, 56, 68)
    )
    if application != APPLICATION_ID:
        raise Untrusted("it is not a tmon database")
    if cache_pages or encoding != UTF_8:
        raise Untrusted("its header is not as tmon has made it: a cache of its own, or not UTF-8")


def _refuse_malformed(objects: list[SchemaObject]) -> None:
    """Refuse definitions that SQLite itself wouldn't have written, or that are too large."""
    if not all(isinstance(text, str) for one in objects for text in one[:3]) or not all(
        isinstance(one.sql, str | None) for one in objects
    ):
        raise Untrusted("its schema is not text")
    characters = sum(len(one.sql or "") for one in objects)
    if len(objects) > MOST_OBJECTS or characters > MOST_SQL_CHARACTERS:
        raise Untrusted(f"its schema is too large: {len(objects):,} objects")
    for one in objects:
        if one.sql is None:
            if not (one.type == "index" and one.name.startswith("sqlite_autoindex_")):
                raise Untrusted(f"its {one.type} {_show(one.name)} has no definition")
        elif len("".join(one).encode()) > MOST_OBJECT_BYTES:  # type: ignore[arg-type]  # all text
            raise Untrusted(f"its {one.type} {_show(one.name)} has a definition of over 30 KiB")
        elif "\0" in one.sql or any(category(character) == "Cc" for character in one.name):
            raise Untrusted(f"its {one.type} {_show(one.name)} has control characters in its name")
        elif one.sql.startswith("CREATE VIRTUAL TABLE "):
            raise Untrusted(f"it has a virtual table, {_show(one.name)}, which runs code")
        elif not one.sql.startswith(BEGINNINGS.get(one.type, ())):
            raise Untrusted(f"its {one.type} {_show(one.name)} was not made by SQLite")


def _compare(db: Database, objects: list[SchemaObject], names: set[str]) -> list[SchemaObject]:
    """Check all that these migrations make, and return the objects that they don't make."""
    with schema_after(names) as fresh:
        expected = schema_objects(fresh)
        _refuse_indexes(db, fresh)
    missing = [one for one in expected if one not in objects]
    if missing:
        what = f"{missing[0].type} {missing[0].name}"
        raise Untrusted(f"its {what} is missing, or is not as tmon has made it")
    made_by_sqlite = {*SQLITE_TABLES, None}
    return [one for one in objects if one not in expected and one.sql not in made_by_sqlite]


def _refuse_additions(db: Database, own: list[SchemaObject]) -> None:
    """Refuse additions of the owner that act by themselves, or hide something of SQLite's."""
    modules = {*JSON_TABLES, *(name for (name,) in db.execute("pragma module_list").fetchall())}
    for one in own:
        if one.type == "trigger":
            raise Untrusted(f"it has a trigger that is not tmon's, {_show(one.name)}")
        name = one.name.lower()
        if name in modules or name.startswith("pragma_"):
            raise Untrusted(f"its {one.type} {_show(one.name)} has the name of a function")
        if name.startswith("sqlite_"):
            raise Untrusted(f"its {one.type} {_show(one.name)} has a name of SQLite's own")


def _refuse_indexes(db: Database, fresh: Database) -> None:
    """Refuse indexes on tmon's tables that could reject rows, or compute something for each.

    The pragmas are asked: a row of ``sqlite_master`` may name a wrong table.
    """
    for table in fresh.table_names():
        index_list = f"pragma index_list({quote_identifier(table)})"
        ours = {name for _, name, *_ in fresh.execute(index_list)}
        for _, name, is_unique, _, is_partial in db.execute(index_list).fetchall():
            columns = db.execute(f"pragma index_xinfo({quote_identifier(name)})").fetchall()
            computes = is_partial or any(column == COMPUTED for _, column, *_ in columns)
            if name not in ours and (is_unique or computes):
                raise Untrusted(
                    f"its index {_show(name)} on {table} is not tmon's, and could refuse rows"
                )


def _refuse_views(db: Database, own: list[SchemaObject]) -> None:
    """Refuse views that take too long to prepare, or call what no view may."""
    deadline_s = 0.0

    def deny_if_late(*_action: object) -> int:
        return sqlite3.SQLITE_OK if monotonic() < deadline_s else sqlite3.SQLITE_DENY

    # SQLite calls it for each column and view that it resolves while it prepares.
    db.conn.set_authorizer(deny_if_late)
    for view in (one.name for one in own if one.type == "view"):
        deadline_s = monotonic() + VIEW_S
        try:
            db.execute(f"explain select * from {quote_identifier(view)}")
        except sqlite3.DatabaseError as error:
            if monotonic() > deadline_s:
                raise Untrusted(f"its view {_show(view)} takes too long") from None
            if "unsafe use" in str(error):
                raise Untrusted(f"its view {_show(view)} calls what no view may") from None


def _refuse_names(db: Database) -> None:
    """Refuse names that ingest refuses, as they become part of URLs and pages."""
    for what, query, can_be in (
        ("node", "select name from nodes", is_node_name),
        ("node's uid", "select uid from nodes", is_node_name),
        ("sensor", "select name from sensors", is_sensor_name),
        ("sensor", "select wire_name from sensor_names", is_sensor_name),
    ):
        for (name,) in db.execute(query):
            if not can_be(name):
                raise Untrusted(f"no {what} can be called {name[:MOST_SHOWN]!r}")


def _refuse_values(db: Database, tables: set[str]) -> None:
    """Refuse infinite values, times outside the years 1 to 9999, and texts over 30 KiB.

    Ingest and import never store them, and pages can't show them.
    """
    for table in sorted(tables):
        bad = ["false"]
        for column in db.table(table).columns:
            if column.type.upper() == "REAL":
                bad.append(f"abs({column.name}) = 9e999")
            if column.type.upper() == "TEXT":
                bad.append(f"length(cast({column.name} as blob)) > {MOST_OBJECT_BYTES}")
            if column.name.endswith("_ms"):
                bad.append(f"{column.name} not between {FIRST_MS} and {LAST_MS}")
        if count := db.table(table).count_where(" or ".join(bad)):
            raise Untrusted(
                f"{pluralize(count, 'row')} of its table {table}: an infinite value, a time "
                "outside the years 1 to 9999, or a text over 30 KiB, none of which pages can show"
            )


def _show(name: str) -> str:
    """A name's beginning, without control characters."""
    return printable(name[:MOST_SHOWN])
