"""A database file of unknown origin, looked at before it takes the place of a station's own.

SQLite acts on what a file's schema says as soon as it is used: triggers run with each reading,
views and indexes with each page. So what tmon has made must be there to the letter, and
nothing else may act on it. What the owner has added is kept.
"""

from collections.abc import Iterable
from contextlib import closing
from functools import partial
from pathlib import Path
from time import monotonic
from unicodedata import category

from sqlite_utils import Database

from tmon.core.errors import TmonError
from tmon.core.humanize import pluralize, printable
from tmon.core.names import is_node_name, is_sensor_name
from tmon.core.time import FIRST_MS, LAST_MS
from tmon.db.connect import (
    APPLICATION_ID,
    SchemaObject,
    applied_migrations,
    migrated_by,
    refuse_newer,
    schema_objects,
    sqlite3,
)
from tmon.maintenance.copies import open_unchanging, quoted

MOST_OBJECTS = 2_000  # tmon itself makes about 40
MOST_SHOWN = 80  # characters of a name
MOST_SQL_CHARACTERS = 1_000_000
# Of a row of the schema: pages couldn't read it (tmon/pages/limited_connection.py has 32 KiB), and
# Datasette couldn't be started.
MOST_OBJECT_BYTES = 30 * 1024
VIEW_S = 2.0  # a view of views doubles with each of them what preparing it takes
UTF_8 = 1  # in a file's header
COMPUTED = -2  # in place of a column's number, as `pragma index_xinfo` has it

# How SQLite begins what it writes down, whatever was typed. A row that begins otherwise was
# put there by other means, and may be another thing than its type says.
BEGINNINGS = {
    "table": ("CREATE TABLE ",),
    "index": ("CREATE INDEX ", "CREATE UNIQUE INDEX "),
    "view": ("CREATE VIEW ",),
    "trigger": ("CREATE TRIGGER ",),
}
# In `pragma module_list` only once they were used.
JSON_TABLES = ("json_each", "json_tree", "jsonb_each", "jsonb_tree")
# Tables that SQLite makes by itself: for AUTOINCREMENT, and by ANALYZE.
OF_SQLITE = {
    "CREATE TABLE sqlite_sequence(name,seq)",
    "CREATE TABLE sqlite_stat1(tbl,idx,stat)",
    "CREATE TABLE sqlite_stat4(tbl,idx,neq,nlt,ndlt,sample)",
}


class Untrusted(TmonError):
    """A file holds what could act by itself, or isn't as tmon has made it."""


def vet(path: Path, shown: Path) -> list[str]:
    """See that a file holds what tmon has made, as it has made it, and nothing that acts on it.

    Nothing of it is run, and nothing is written.

    Args:
        path: the file; nobody has it open.
        shown: what the message calls it.

    Returns:
        The owner's own tables, indexes and views.

    Raises:
        Untrusted: what is wrong with it.
        RefusedDatabase: it was made by a newer tmon.
        sqlite3.DatabaseError: it is damaged.
    """
    try:
        with closing(open_unchanging(path)) as conn:
            _refuse_header(path)
            db = Database(conn, execute_plugins=False)
            objects = schema_objects(db)
            _refuse_odd(objects)
            _compare(db, objects, set())  # the table of migrations, which is read next
            refuse_newer(db, shown)
            own = _compare(db, objects, applied_migrations(db))
            _refuse_additions(db, own)
            _refuse_names(db)
            _refuse_views(db, own)
            _refuse_numbers(db, {*db.table_names()} - {one.name for one in own})
    except MemoryError:
        raise Untrusted("its schema takes too much memory") from None
    except UnicodeDecodeError:  # of a text, or of SQLite's message that quotes one
        raise Untrusted("it is damaged: its texts are not UTF-8") from None
    return [f"{one.type} {_shown(one.name)}" for one in own]


def _refuse_header(path: Path) -> None:
    """What stands in the first bytes (sqlite.org/fileformat.html), and SQLite goes by."""
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


def _refuse_odd(objects: list[SchemaObject]) -> None:
    """What no database of tmon's can have, whatever its owner has added."""
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
                raise Untrusted(f"its {one.type} {_shown(one.name)} has no definition")
        elif len("".join(one).encode()) > MOST_OBJECT_BYTES:  # type: ignore[arg-type]  # all text
            raise Untrusted(f"its {one.type} {_shown(one.name)} has a definition of over 30 KiB")
        elif "\0" in one.sql or any(category(character) == "Cc" for character in one.name):
            raise Untrusted(f"its {one.type} {_shown(one.name)} has control characters in its name")
        elif one.sql.startswith("CREATE VIRTUAL TABLE "):
            raise Untrusted(f"it has a virtual table, {_shown(one.name)}, which runs code")
        elif not one.sql.startswith(BEGINNINGS.get(one.type, ())):
            raise Untrusted(f"its {one.type} {_shown(one.name)} was not made by SQLite")


def _compare(db: Database, objects: list[SchemaObject], names: set[str]) -> list[SchemaObject]:
    """What isn't tmon's, once all that these migrations make is known to be as it was made."""
    with migrated_by(names) as fresh:
        expected = schema_objects(fresh)
        _refuse_indexes(db, fresh)
    missing = [one for one in expected if one not in objects]
    if missing:
        what = f"{missing[0].type} {missing[0].name}"
        raise Untrusted(f"its {what} is missing, or is not as tmon has made it")
    return [one for one in objects if one not in expected and not _is_of_sqlite(one)]


def _is_of_sqlite(one: SchemaObject) -> bool:
    return one.sql in OF_SQLITE or one.sql is None


def _refuse_additions(db: Database, own: list[SchemaObject]) -> None:
    """Refuse of the owner's what acts by itself, or stands in the way of something else."""
    modules = {*JSON_TABLES, *(name for (name,) in db.execute("pragma module_list").fetchall())}
    for one in own:
        if one.type == "trigger":
            raise Untrusted(f"it has a trigger that is not tmon's, {_shown(one.name)}")
        name = one.name.lower()
        if name in modules or name.startswith("pragma_"):
            raise Untrusted(f"its {one.type} {_shown(one.name)} has the name of a function")
        if name.startswith("sqlite_"):
            raise Untrusted(f"its {one.type} {_shown(one.name)} has a name of SQLite's own")


def _refuse_indexes(db: Database, fresh: Database) -> None:
    """Refuse what decides which rows a table of tmon's may have, or computes with each of them.

    SQLite itself is asked: what a row of ``sqlite_master`` says of its table may be wrong.
    """
    for table in fresh.table_names():
        of_tmon = {name for _, name, *_ in _indexes(fresh, table)}
        for _, name, is_unique, _, is_partial in _indexes(db, table):
            columns = db.execute(f"pragma index_xinfo({quoted(name)})").fetchall()
            computes = is_partial or any(column == COMPUTED for _, column, *_ in columns)
            if name not in of_tmon and (is_unique or computes):
                raise Untrusted(
                    f"its index {_shown(name)} on {table} is not tmon's, and could refuse rows"
                )


def _indexes(db: Database, table: str) -> Iterable[tuple[int, str, int, str, int]]:
    return db.execute(f"pragma index_list({quoted(table)})").fetchall()


def _refuse_views(db: Database, own: list[SchemaObject]) -> None:
    """Refuse views that take too long to prepare, or call what no view may."""
    for one in own:
        if one.type != "view":
            continue
        deadline_s = monotonic() + VIEW_S
        db.conn.set_authorizer(partial(_until, deadline_s))
        try:
            db.execute(f"explain select * from {quoted(one.name)}")
        except sqlite3.DatabaseError as error:
            if monotonic() > deadline_s:
                raise Untrusted(f"its view {_shown(one.name)} takes too long") from None
            if "unsafe use" in str(error):
                raise Untrusted(f"its view {_shown(one.name)} calls what no view may") from None


def _until(deadline_s: float, *_what: object) -> int:
    """SQLite asks while it puts views in the place of their names, as often as they stand there."""
    return sqlite3.SQLITE_OK if monotonic() < deadline_s else sqlite3.SQLITE_DENY


def _refuse_names(db: Database) -> None:
    """Refuse names that ingest refuses, as they become part of addresses and of pages."""
    for what, query, can_be in (
        ("node", "select name from nodes", is_node_name),
        ("node's uid", "select uid from nodes", is_node_name),
        ("sensor", "select name from sensors", is_sensor_name),
        ("sensor", "select wire_name from sensor_names", is_sensor_name),
    ):
        for (name,) in db.execute(query):
            if not can_be(name):
                raise Untrusted(f"no {what} can be called {name[:MOST_SHOWN]!r}")


def _refuse_numbers(db: Database, tables: set[str]) -> None:
    """Refuse what ingest and import never store, and what pages can't show.

    That is infinity, times outside the years 1 to 9999, and texts over 30 KiB.
    """
    for table in sorted(tables):
        names = {one.name: one.type.upper() for one in db.table(table).columns}
        bad = [f"abs({name}) = 9e999" for name, type_ in names.items() if type_ == "REAL"]
        bad += [
            f"{name} not between {FIRST_MS} and {LAST_MS}" for name in names if name[-3:] == "_ms"
        ]
        bad += [
            f"length(cast({name} as blob)) > {MOST_OBJECT_BYTES}"
            for name, type_ in names.items()
            if type_ == "TEXT"
        ]
        if not bad:
            continue
        count = db.execute(f"select count(*) from {table} where {' or '.join(bad)}").fetchone()[0]
        if count:
            raise Untrusted(
                f"{pluralize(count, 'row')} of its table {table}: an infinite value, a time"
                " outside the years 1 to 9999, or a text over 30 KiB, none of which pages can show"
            )


def _shown(name: str) -> str:
    """A name on one line, and without what would move a terminal's cursor."""
    return printable(name[:MOST_SHOWN])
