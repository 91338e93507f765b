"""A Datasette that publishes the one database file, and can only read it."""

import asyncio
import contextvars
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from time import sleep
from typing import Any, TypeVar

import yaml
from datasette.app import Datasette
from datasette.cli import check_databases
from datasette.database import Database, QueryInterrupted, Results
from datasette.utils import StartupError
from datasette.utils.asgi import BadRequest
from datasette.utils.sqlite import sqlite3

from tmon.core.errors import CannotServe
from tmon.db.connect import refuse_foreign_log
from tmon.db.sqlite_errors import explain
from tmon.pages.limited_connection import LimitedConnection, RowCost, row_cost

PUBLISHED_AS = "tmon"
LOGGED_SQL_CHARACTERS = 200  # visitors may send 64 KB of it
WATCH_EVERY_S = 0.1
START_LIMIT_MS = 60_000  # to read the schema on a Pi that is still booting
SQL_NICENESS = 19  # the lowest priority there is: taking readings in comes first

CUT_OFF = (
    "This has more than {:,} rows, and a CSV is never cut off."
    " Ask for less at a time, or take a table's own CSV, which has all of its rows."
)

# SQLite's primary result codes for an error in a statement, not in the file.
STATEMENT_CODES = frozenset((1, 18, 20, 23, 25))  # ERROR, TOOBIG, MISMATCH, AUTH, RANGE

# The station's settings that our pages read, all texts.
PAGE_SETTINGS = ("public_url", "ingest_url", "cors", "map_tiles", "map_credit")

T = TypeVar("T")

log = logging.getLogger("tmon.publish")


# If one filter of a request fails, Datasette doesn't await the others.
UNAWAITED = "coroutine 'filters_from_request' was never awaited"
warnings.filterwarnings("ignore", UNAWAITED, RuntimeWarning)


class Unpublishable(CannotServe):
    """Datasette can't be started; the message is one sentence that names the faulty file."""


def datasette_for(
    database: Path, *, download_dir: Path | None = None, **page_settings: str
) -> Datasette:
    """A Datasette that serves ``database``, whatever it is called, as ``/tmon``.

    A ``metadata.yml`` or ``datasette.yml`` beside it replaces the shipped one. Await
    ``start`` on the result before serving its ``app()``.

    Args:
        database: the file.
        download_dir: has copies that everybody may download; None for none.
        page_settings: those of ``PAGE_SETTINGS`` that aren't empty.

    Raises:
        Unpublishable: there is no such database, or one of the two files is invalid.
        RefusedDatabase: its log belongs to another file.
    """
    if not database.is_file():
        raise Unpublishable(f"{database}: no such database")
    refuse_foreign_log(database)
    shipped = _shipped()
    config = _owners_or_shipped(database, shipped / "datasette.yml")
    try:
        datasette = TmonDatasette(
            metadata=_load_yaml(_owners_or_shipped(database, shipped / "metadata.yml")),
            config=_load_yaml(config),
            plugins_dir=str(shipped / "plugins"),
            template_dir=str(shipped / "plugins" / "templates"),
            static_mounts=[("static", str(shipped / "plugins" / "static"))],
        )
        _configure_plugins(datasette, page_settings)
        # Not in the configuration: Datasette shows that to everybody, and this is a path.
        datasette.tmon_download_dir = download_dir
    except (StartupError, AttributeError, TypeError) as error:
        raise Unpublishable(f"{config}: {_sentence(error)}") from error
    datasette.remove_database("_memory")  # which Datasette adds if it is started without files
    datasette.add_database(ReadOnlyDatabase(datasette, str(database.absolute())), name=PUBLISHED_AS)
    return datasette


async def start(datasette: Datasette) -> None:
    """Read the schema and apply both files; call it before the first request.

    Raises:
        Unpublishable: the database can't be read, or metadata.yml or datasette.yml
            doesn't have the shape that Datasette expects.
    """
    limit_ms = datasette.sql_time_limit_ms
    datasette.sql_time_limit_ms = START_LIMIT_MS
    try:
        await check_databases(datasette)
    except sqlite3.Error as error:
        path = datasette.get_database().path
        hint = "" if Path(f"{path}-shm").exists() else "; start ingest, which makes its -shm"
        raise Unpublishable(f"{path}: {explain(error)}{hint}") from error
    try:
        await datasette._startup_sequence()  # what `datasette serve` calls
    except (StartupError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise Unpublishable(f"metadata.yml or datasette.yml: {_sentence(error)}") from error
    datasette.sql_time_limit_ms = limit_ms
    database = datasette.get_database(PUBLISHED_AS)
    threading.Thread(target=database.enforce_time_limits, name="time limit", daemon=True).start()


class TmonDatasette(Datasette):  # type: ignore[misc]  # Datasette ships no types
    """A Datasette that keeps the schema it has if reading a newer one takes too long."""

    async def refresh_schemas(self, *, force: bool = False) -> None:
        """Datasette's own would answer 500 then."""
        with suppress(QueryInterrupted):
            await super().refresh_schemas(force=force)


class BadStatement(sqlite3.OperationalError, BadRequest):  # type: ignore[misc]
    """An error in a visitor's SQL, or in a value for it.

    Datasette's pages handle it as an SQLite error; where they don't, it is a 400.
    """


class ReadOnlyDatabase(Database):  # type: ignore[misc]  # Datasette ships no types
    """A database file that this process opens only for reading.

    Datasette would open a second connection for its write API, and would put the path
    into a URI without quoting ``?``, ``#`` and ``%``.

    Visitors' SQL runs in threads of its own, so that neither Datasette's bookkeeping
    nor our pages wait for it.
    """

    @property
    def connection_class(self) -> type[sqlite3.Connection]:
        return LimitedConnection

    def __init__(self, datasette: Datasette, path: str) -> None:
        super().__init__(datasette, path)
        self._threads = ThreadPoolExecutor(
            max(1, datasette.setting("num_sql_threads")),
            "visitors-sql",
            initializer=_lower_priority,
        )
        self._local = threading.local()  # each thread's connection

    def connect(self, write: bool = False) -> sqlite3.Connection:  # noqa: ARG002
        connection = sqlite3.connect(
            f"{Path(self.path).as_uri()}?mode=ro",
            uri=True,
            check_same_thread=False,
            isolation_level=None,  # else a statement that looks like a write begins a transaction
            factory=self.connection_class,
        )
        self._all_connections.append(connection)
        return connection

    def enforce_time_limits(self) -> None:
        """Interrupt statements over their limit until this is closed; runs in its own thread."""
        while not self._closed:
            sleep(WATCH_EVERY_S)
            for connection in list(self._all_connections):
                connection.interrupt_if_time_is_up()

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)
        super().close()

    async def _execute_fn(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Run in our threads; Datasette's own would use those of its bookkeeping."""
        context = contextvars.copy_context()  # for Datasette's tracing
        future = self._threads.submit(context.run, self._with_connection, fn)
        done = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            # Nobody waits for it, but the request counts for as long as its thread is busy.
            if not future.cancel():
                await asyncio.wait([done])
                done.exception()
            raise
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as error:
            if getattr(error, "sqlite_errorcode", None) in {None, *STATEMENT_CODES}:
                raise BadStatement(str(error)) from error
            raise
        finally:
            # An error would keep itself, and with it a statement that was ended (pages/queries.py).
            del future, done

    def _with_connection(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        if not hasattr(self._local, "connection"):
            self._local.connection = self.connect()
            self.ds._prepare_connection(self._local.connection, self.name)
        return fn(self._local.connection)

    async def _execute_write_fn(self, *_: Any, **__: Any) -> None:
        """Refuse a stored query with ``write: true``; Datasette would try, and log a traceback."""
        raise BadStatement("not authorized: SQL can only read here")

    async def execute(
        self, sql: str, *args: Any, log_sql_errors: bool = True, **kwargs: Any
    ) -> Results:
        """Datasette's own would log the whole of invalid SQL, and truncate without saying so."""
        try:
            results = await super().execute(sql, *args, log_sql_errors=False, **kwargs)
        except sqlite3.DatabaseError as error:
            if log_sql_errors:
                level = logging.INFO if isinstance(error, BadStatement) else logging.WARNING
                log.log(level, "%.*r: %s", LOGGED_SQL_CHARACTERS, sql, _sentence(error)[:200])
            raise
        if results.truncated and kwargs.get("page_size") is None:  # else there is a next page
            cost = row_cost.get(RowCost())
            cost.truncated = True  # the page says so
            if cost.must_be_complete:  # a CSV can't
                raise BadStatement(CUT_OFF.format(self.ds.max_returned_rows))
        return results


def _lower_priority() -> None:
    """Lower this thread's priority; only Linux has one for each thread."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), SQL_NICENESS)


def _configure_plugins(datasette: Datasette, settings: Mapping[str, str]) -> None:
    """Give our pages the settings that aren't empty, beside what datasette.yml has for them."""
    plugins = datasette.config.get("plugins") or {}
    given = {name: text for name, text in settings.items() if text}
    ours = {**(plugins.get(PUBLISHED_AS) or {}), **given}
    datasette.config["plugins"] = {**plugins, PUBLISHED_AS: ours}


def _shipped() -> Path:
    """The directory of our files: in an installed package, or a checkout's root."""
    package = Path(__file__).parent.parent
    packaged = package / "published"
    return packaged if packaged.is_dir() else package.parent


def _owners_or_shipped(database: Path, shipped: Path) -> Path:
    """The file of that name beside the database, or else the shipped one."""
    owners = database.parent / shipped.name
    return owners if owners.is_file() else shipped


def _load_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Unpublishable(f"{path}: {_sentence(error)}") from error
    if not _has_mappings(content):
        raise Unpublishable(f"{path}: names with values are expected, as in the shipped one")
    mapping: dict[str, Any] = content
    return mapping


def _has_mappings(content: Any) -> bool:
    """Whether it has mappings wherever Datasette takes them for granted."""
    if not isinstance(content, dict) or not isinstance(content.get("databases", {}), dict):
        return False
    return all(
        isinstance(database, dict)
        and isinstance(database.get("tables", {}), dict)
        and isinstance(database.get("queries", {}), dict)
        for database in content.get("databases", {}).values()
    )


def _sentence(error: Exception) -> str:
    """An error on one line; YAML's own go over several."""
    return " ".join(f"{type(error).__name__}: {error}".split())
