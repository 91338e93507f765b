"""Open the database: create it where there is none, and migrate it to the present schema."""

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import NamedTuple

from sqlite_utils import Database
from sqlite_utils.utils import sqlite3 as sqlite3  # type: ignore[attr-defined]  # or pysqlite3

from tmon.core.errors import RefusedDatabase as RefusedDatabase
from tmon.db import identity, merge, preflight
from tmon.db.checkpoint import WritableDatabase as WritableDatabase
from tmon.db.database_file import connect_uri
from tmon.db.migrations import migrations
from tmon.db.preflight import refuse_foreign_log as refuse_foreign_log
from tmon.db.preflight import set_foreign_log_aside as set_foreign_log_aside
from tmon.db.sqlite_errors import explain

APPLICATION_ID = 0x746D6F6E  # "tmon" in ASCII, in the header of each of our files
BUSY_TIMEOUT_S = 2.0  # longer than any transaction of ours (tmon import: 50 ms)
SWITCH_PAUSE_S = 0.01
PAGE_BYTES = 1024  # a reading on its own writes two of them (docs/decisions/0018)
CACHED_STATEMENTS = 512  # the bulk inserts differ in length (see tmon/store/commit.py)


class SchemaObject(NamedTuple):
    """A row of ``sqlite_master``; ``sql`` is None for the indexes of constraints."""

    type: str
    name: str
    table: str
    sql: str | None


def open_database(
    path: Path,
    *,
    create: bool = False,
    in_cluster: bool = False,
    database_type: type[WritableDatabase] = WritableDatabase,
) -> WritableDatabase:
    """Open ``path`` for reading and writing, and migrate it to the present schema.

    A log that was written for another file is set aside first.

    Args:
        path: the database file.
        create: make the file when there is none.
        in_cluster: the file may be one of a station on several machines.
        database_type: what to return.

    Raises:
        RefusedDatabase: no such file, no tmon database, or one from a newer tmon.

    """
    if not create:
        _refuse_missing(path)
    refuse_non_file(path)
    preflight.adopt_stray_logs(path)
    set_foreign_log_aside(path)
    with suppress(OSError):  # the file exists, or SQLite will say why it can't
        created = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        chown_to_dir_owner(created, path)
        os.close(created)
    try:
        contents = preflight.check_log(path)
        connection = sqlite3.connect(
            str(path),
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,  # opened in one thread, used in another
            cached_statements=CACHED_STATEMENTS,
            factory=database_type.connection_type,
        )
        db = database_type(connection, path)
        if contents:
            preflight.keep_damaged_log(db, path, contents)
        _prepare(db, path)
        if not in_cluster and is_of_cluster(db):
            raise RefusedDatabase(
                f"{path}: one of the files of a station on several machines; set TMON_STREAM, so "
                "that what is written here is written on all of them"
            )
        merge.merge_copies(db, path)
    except sqlite3.DatabaseError as error:
        raise RefusedDatabase(f"{path}: {explain(error)}") from error
    return db


def is_of_cluster(db: Database) -> bool:
    """Whether the file is one of several machines', each of which stores the same streams."""
    return db.execute("select 1 from stream_positions limit 1").fetchone() is not None


def refuse_non_file(path: Path) -> None:
    """Refuse a folder, a device or a pipe (SQLite would block on it); a missing path is fine.

    Raises:
        RefusedDatabase: it is such a thing.
    """
    if path.exists() and not path.is_file():
        raise RefusedDatabase(f"{path}: not a file; set TMON_DB to the database's file")


def _refuse_missing(path: Path) -> None:
    if not path.exists():
        raise RefusedDatabase(
            f"{path}: no such database; `tmon serve` makes one, on several machines `tmon sink`; "
            "or set TMON_DB"
        )


def refuse_other_application(db: Database, path: Path) -> None:
    """Refuse a file of another program.

    Raises:
        RefusedDatabase: its ``application_id`` isn't tmon's.
    """
    if pragma(db, "application_id") != APPLICATION_ID:
        raise RefusedDatabase(f"{path}: not a tmon database; set TMON_DB to another file")


def open_for_reading(path: Path) -> Database:
    """Open ``path`` read-only, as Datasette does; it must exist and be migrated.

    Raises:
        RefusedDatabase: it isn't a file, or its log belongs to another file.
    """
    refuse_non_file(path)
    refuse_foreign_log(path)
    connection = connect_uri(path, "mode=ro", timeout=BUSY_TIMEOUT_S)
    return Database(connection, execute_plugins=False)


def open_migrated_for_reading(path: Path) -> Database:
    """Open ``path`` read-only, even where this user may not write beside it.

    Raises:
        RefusedDatabase: no such file, no tmon database, or one of another tmon version.
    """
    _refuse_missing(path)
    db = open_for_reading(path)
    try:
        try:
            db.execute("select count(*) from sqlite_master")
        except sqlite3.OperationalError:
            # SQLite needs the log to read a WAL database. Where there is none and none can be
            # made, the file is all there is.
            if path.with_name(f"{path.name}-wal").exists() or not os.access(path, os.R_OK):
                raise
            db.close()
            db = Database(connect_uri(path, "mode=ro&immutable=1"), execute_plugins=False)
        refuse_other_application(db, path)
        _refuse_other_version(db, path)
    except BaseException:
        db.close()
        raise
    return db


def _refuse_other_version(db: Database, path: Path) -> None:
    if _known_migrations() != applied_migrations(db):
        raise RefusedDatabase(
            f"{path}: made by another version of tmon; `tmon serve` brings an older one up to date"
        )


def schema_objects(db: Database) -> list[SchemaObject]:
    """The tables, indexes, views and triggers of a database."""
    rows = db.execute("select type, name, tbl_name, sql from sqlite_master order by type, name")
    return [SchemaObject(*row) for row in rows.fetchall()]


def applied_migrations(db: Database) -> set[str]:
    """The names of the migrations that were applied to a database."""
    return {migration.name for migration in migrations.applied(db)}


def _known_migrations() -> set[str]:
    with Database(memory=True, execute_plugins=False) as empty:
        return {migration.name for migration in migrations.pending(empty)}


@contextmanager
def schema_after(names: Collection[str]) -> Iterator[Database]:
    """An empty in-memory database to which only these migrations were applied."""
    with Database(memory=True, execute_plugins=False) as fresh:
        migrations.ensure_migrations_table(fresh)
        for migration in migrations.pending(fresh):
            if migration.name in names:
                migration.fn(fresh)
        yield fresh


def refuse_newer(db: Database, path: Path) -> None:
    """Refuse a database that a newer tmon has migrated.

    Raises:
        RefusedDatabase: it had a migration that this tmon doesn't know.
    """
    newer = applied_migrations(db) - _known_migrations()
    if newer:
        raise RefusedDatabase(
            f"{path}: made by a newer tmon (migration {min(newer)}); upgrade this one"
        )


@contextmanager
def transaction(db: Database) -> Iterator[None]:
    """One transaction that holds the write lock from its start."""
    begin: Callable[[], object] = partial(db.execute, "begin immediate")
    commit: Callable[[], object] = partial(db.execute, "commit")
    if isinstance(db, WritableDatabase):
        begin, commit = db.begin, db.commit
    begin()
    try:
        yield
        commit()
    finally:
        db.rollback()
    after_commit(db)


def after_commit(db: Database) -> None:
    """Make a checkpoint if the log is long; ``transaction`` calls this itself."""
    if isinstance(db, WritableDatabase):
        db.checkpoint_if_long()


def chown_to_dir_owner(descriptor: int, path: Path) -> None:
    """As root, give a new file to the owner of its folder, whose processes will write to it.

    SQLite does the same for the log: as root, it gives that to the database's owner.
    """
    if os.geteuid() == 0:
        folder = path.absolute().parent.stat()
        with suppress(PermissionError):  # a network disk on which nobody may change owners
            os.fchown(descriptor, folder.st_uid, folder.st_gid)


def pragma(db: Database, name: str) -> int:
    """The value of a numeric pragma."""
    return int(db.execute(f"pragma {name}").fetchone()[0])


def _prepare(db: Database, path: Path) -> None:
    """Set a new file up, refuse another program's, and apply the migrations that are missing."""
    if not db.execute("select count(*) from sqlite_master").fetchone()[0]:
        # Neither can be changed once there are tables.
        db.execute(f"pragma page_size = {PAGE_BYTES}")
        db.execute("pragma auto_vacuum = incremental")
    else:
        refuse_other_application(db, path)
    _switch_to_wal(db)
    for setting in ("synchronous = full", "foreign_keys = on"):
        db.execute(f"pragma {setting}")
    if _known_migrations() != applied_migrations(db):
        with transaction(db):
            refuse_newer(db, path)
            db.execute(f"pragma application_id = {APPLICATION_ID}")
            migrations.apply(db)
    if not pragma(db, "user_version"):
        with transaction(db):
            if not pragma(db, "user_version"):  # another connection may have set it meanwhile
                db.execute(f"pragma user_version = {identity.new_mark()}")


def _switch_to_wal(db: Database) -> None:
    """Retry while busy: SQLite's own timeout doesn't cover two connections that switch at once."""
    until_s = monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            db.execute("pragma journal_mode = wal")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or monotonic() > until_s:
                raise
            sleep(SWITCH_PAUSE_S)
        else:
            return
