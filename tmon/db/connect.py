"""The database opened: made where there is none, and brought up to the present schema."""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import NamedTuple

from sqlite_utils import Database
from sqlite_utils.utils import sqlite3 as sqlite3  # type: ignore[attr-defined]  # or pysqlite3

from tmon.core.errors import RefusedDatabase as RefusedDatabase
from tmon.db import identity, merge, preflight
from tmon.db.checkpoint import WritableDatabase as WritableDatabase
from tmon.db.migrations import migrations
from tmon.db.preflight import refuse_foreign_log as refuse_foreign_log
from tmon.db.preflight import set_foreign_log_aside as set_foreign_log_aside
from tmon.db.sqlite_errors import explained

APPLICATION_ID = 0x746D6F6E  # "tmon" in ASCII, in the header of each of our files
BUSY_TIMEOUT_S = 2.0  # longer than any transaction of ours (tmon import: 50 ms)
SWITCH_PAUSE_S = 0.01
PAGE_BYTES = 1024  # a reading on its own writes two of them (docs/decisions/0018)
CACHED_STATEMENTS = 512  # the bulk inserts differ in length (see tmon/store/commit.py)


class SchemaObject(NamedTuple):
    """A row of ``sqlite_master``; ``sql`` is None for the indexes that a table has of itself."""

    type: str
    name: str
    table: str
    sql: str | None


def open_database(path: Path, *, create: bool = False) -> WritableDatabase:
    """Open ``path`` for reading and writing, brought up to the present schema.

    A log that was written for another file is set aside first.

    Args:
        path: the database file.
        create: make the file when there is none.

    Raises:
        RefusedDatabase: no such file, no tmon database, or one from a newer tmon.

    """
    if not create and not path.exists():
        raise RefusedDatabase(f"{path}: no such database; `tmon serve` makes one, or set TMON_DB")
    refuse_no_file(path)
    preflight.place_stray_log(path)
    set_foreign_log_aside(path)
    if not path.exists():
        _make_for_folders_owner(path)
    try:
        contents = preflight.look_at_log(path)
        db = WritableDatabase(_connect(path), path)
        if contents:
            preflight.keep_damaged_log(db, path, contents)
        _prepare(db, path)
        merge.merge_copies(db, path)
    except sqlite3.DatabaseError as error:
        raise RefusedDatabase(f"{path}: {explained(error)}") from error
    return db


def refuse_no_file(path: Path) -> None:
    """Refuse a folder, a device or a pipe, which SQLite would wait for; nothing there is well.

    Raises:
        RefusedDatabase: it is such a thing.
    """
    if path.exists() and not path.is_file():
        raise RefusedDatabase(f"{path}: not a file; set TMON_DB to the database's file")


def open_for_reading(path: Path) -> Database:
    """Open ``path`` read-only, as Datasette does; it must exist and be migrated.

    Raises:
        RefusedDatabase: it is no file, or its log belongs to another.
    """
    refuse_no_file(path)
    refuse_foreign_log(path)
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S
    )
    return Database(connection, execute_plugins=False)


def open_migrated_for_reading(path: Path) -> Database:
    """Open ``path`` read-only, whoever may write to it and whether anybody can.

    Raises:
        RefusedDatabase: no such file, no tmon database, or one of another tmon.
    """
    if not path.exists():
        raise RefusedDatabase(f"{path}: no such database; `tmon serve` makes one, or set TMON_DB")
    db = open_for_reading(path)
    try:
        if _nobody_can_write(db, path):
            db.close()
            db = _open_unchanging(path)
        _refuse_others(db, path)
    except BaseException:
        db.close()
        raise
    return db


def _nobody_can_write(db: Database, path: Path) -> bool:
    """Whether the log is neither there nor can be made, without which a WAL file can't be read."""
    try:
        db.execute("select count(*) from sqlite_master")
    except sqlite3.OperationalError:
        if path.with_name(f"{path.name}-wal").exists() or not os.access(path, os.R_OK):
            raise
        return True
    return False


def _open_unchanging(path: Path) -> Database:
    uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    return Database(sqlite3.connect(uri, uri=True), execute_plugins=False)


def _refuse_others(db: Database, path: Path) -> None:
    if _pragma(db, "application_id") != APPLICATION_ID:
        raise RefusedDatabase(f"{path}: not a tmon database; set TMON_DB to another file")
    if _known() != applied_migrations(db):
        raise RefusedDatabase(
            f"{path}: made by another version of tmon; `tmon serve` brings an older one up to date"
        )


def schema_objects(db: Database) -> list[SchemaObject]:
    """The tables, indexes, views and triggers of a database."""
    rows = db.execute("select type, name, tbl_name, sql from sqlite_master order by type, name")
    return [SchemaObject(*row) for row in rows.fetchall()]


def applied_migrations(db: Database) -> set[str]:
    """The names of the migrations that a database has had."""
    return {migration.name for migration in migrations.applied(db)}


@contextmanager
def migrated_by(names: Collection[str]) -> Iterator[Database]:
    """A new, empty database, in memory, after just these migrations."""
    with Database(memory=True, execute_plugins=False) as fresh:
        migrations.ensure_migrations_table(fresh)
        for migration in migrations.pending(fresh):
            if migration.name in names:
                migration.fn(fresh)
        yield fresh


def refuse_newer(db: Database, path: Path) -> None:
    """Refuse what only a later tmon understands.

    Raises:
        RefusedDatabase: it had a migration that this tmon doesn't know.
    """
    newer = applied_migrations(db) - _known()
    if newer:
        raise RefusedDatabase(
            f"{path}: made by a newer tmon (migration {min(newer)}); upgrade this one"
        )


@contextmanager
def transaction(db: Database) -> Iterator[None]:
    """One transaction that holds the write lock from its first statement on."""
    db.execute("begin immediate")
    try:
        yield
        db.execute("commit")
    finally:
        db.rollback()
    after_commit(db)


def after_commit(db: Database) -> None:
    """Write the log back if it is long; ``transaction`` does so by itself."""
    if isinstance(db, WritableDatabase):
        db.checkpoint_if_long()


def give_to_folders_owner(descriptor: int, path: Path) -> None:
    """As root, let a new file belong to whom its folder belongs, who has to write it later.

    SQLite itself gives the log that root makes to whom the database belongs.
    """
    if os.geteuid() == 0:
        folder = path.absolute().parent.stat()
        with suppress(PermissionError):  # a disk of the network that lets nobody give files away
            os.fchown(descriptor, folder.st_uid, folder.st_gid)


def _make_for_folders_owner(path: Path) -> None:
    """Make an empty file, unless another process is first or SQLite is to say what is wrong."""
    with suppress(OSError):
        made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        give_to_folders_owner(made, path)
        os.close(made)


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        str(path),
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,  # made in one thread, used in one other
        cached_statements=CACHED_STATEMENTS,
    )


def _prepare(db: Database, path: Path) -> None:
    if _is_empty(db):
        # Neither can be changed once there are tables.
        db.execute(f"pragma page_size = {PAGE_BYTES}")
        db.execute("pragma auto_vacuum = incremental")
    elif _pragma(db, "application_id") != APPLICATION_ID:
        raise RefusedDatabase(f"{path}: not a tmon database; set TMON_DB to another file")
    _switch_to_wal(db)
    for setting in ("synchronous = full", "foreign_keys = on"):
        db.execute(f"pragma {setting}")
    _migrate(db, path)
    if not _pragma(db, "user_version"):
        _mark(db)


def _switch_to_wal(db: Database) -> None:
    """Wait for others as for any lock; SQLite doesn't where two connections switch at once."""
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


def _mark(db: Database) -> None:
    """Give the file its mark, unless another connection has done so meanwhile."""
    with transaction(db):
        if not _pragma(db, "user_version"):
            db.execute(f"pragma user_version = {identity.new_mark()}")


def _is_empty(db: Database) -> bool:
    return not db.execute("select count(*) from sqlite_master").fetchone()[0]


def _pragma(db: Database, name: str) -> int:
    return int(db.execute(f"pragma {name}").fetchone()[0])


def _known() -> set[str]:
    with Database(memory=True, execute_plugins=False) as nothing:
        return {migration.name for migration in migrations.pending(nothing)}


def _migrate(db: Database, path: Path) -> None:
    if _known() == applied_migrations(db):
        return
    with transaction(db):
        refuse_newer(db, path)
        db.execute(f"pragma application_id = {APPLICATION_ID}")
        migrations.apply(db)
