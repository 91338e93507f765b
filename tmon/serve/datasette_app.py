"""The published face: a Datasette over the one file, which it can only read."""

import asyncio
import contextvars
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable
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
from tmon.db.sqlite_errors import explained
from tmon.pages.limited import LimitedConnection, Rendering, rendering

PUBLISHED_AS = "tmon"
LOGGED_SQL_CHARACTERS = 200  # anybody may send 64 KB of it
WATCH_EVERY_S = 0.1
START_LIMIT_MS = 60_000  # to read the schema on a Pi that is still booting

# What strangers ask gives way to what takes readings in: as low as a nice value goes.
SQL_NICENESS = 19

CUT_OFF = (
    "This has more than {:,} rows, and a CSV is never cut off."
    " Ask for less at a time, or take a table's own CSV, which has all of its rows."
)

# SQLite's primary result codes for what is wrong with a statement, not with the file.
STATEMENT_CODES = frozenset((1, 18, 20, 23, 25))  # ERROR, TOOBIG, MISMATCH, AUTH, RANGE

T = TypeVar("T")

log = logging.getLogger("tmon.publish")


# Once an address is found at fault, Datasette doesn't await what else looks at it.
UNAWAITED = "coroutine 'filters_from_request' was never awaited"
warnings.filterwarnings("ignore", UNAWAITED, RuntimeWarning)


class Unpublishable(CannotServe):
    """Datasette can't be started; the message is one sentence that names the file at fault."""


def datasette_for(
    database: Path,
    public_url: str = "",
    ingest_url: str = "",
    *,
    download_dir: Path | None = None,
) -> Datasette:
    """A Datasette that serves ``database``, whatever it is called, as ``/tmon``.

    A ``metadata.yml`` or ``datasette.yml`` beside the database takes the place
    of the shipped one. Await ``start`` on the result before serving its ``app()``.

    Args:
        database: the file.
        public_url: what absolute links begin with; empty for what each visitor asked for.
        ingest_url: where nodes send to; empty for the same host, on ingest's own port.
        download_dir: where copies are that everybody may download; None for none.

    Raises:
        Unpublishable: there is no such database, or one of the two files is broken.
        RefusedDatabase: its log belongs to another file.
    """
    if not database.is_file():
        raise Unpublishable(f"{database}: no such database")
    refuse_foreign_log(database)
    shipped = _shipped()
    config = _beside(database, shipped / "datasette.yml")
    try:
        datasette = Published(
            metadata=_mapping(_beside(database, shipped / "metadata.yml")),
            config=_mapping(config),
            plugins_dir=str(shipped / "plugins"),
            template_dir=str(shipped / "plugins" / "templates"),
            static_mounts=[("static", str(shipped / "plugins" / "static"))],
        )
        _tell_plugins(datasette, public_url=public_url, ingest_url=ingest_url)
        # Not by the configuration: that is shown to everybody, and this is a path.
        datasette.tmon_download_dir = download_dir
    except (StartupError, AttributeError, TypeError) as error:
        raise Unpublishable(f"{config}: {_sentence(error)}") from error
    datasette.remove_database("_memory")  # made where no file is given by name
    datasette.add_database(ReadOnly(datasette, str(database.absolute())), name=PUBLISHED_AS)
    return datasette


async def start(datasette: Datasette) -> None:
    """What has to happen before the first request: read the schema, apply both files.

    Raises:
        Unpublishable: the database can't be read, or metadata.yml or datasette.yml
            isn't of the shape Datasette expects.
    """
    visitors_limit_ms = datasette.sql_time_limit_ms
    datasette.sql_time_limit_ms = START_LIMIT_MS
    try:
        await check_databases(datasette)
    except sqlite3.Error as error:
        path = datasette.get_database().path
        hint = "" if Path(f"{path}-shm").exists() else "; start ingest, which makes its -shm"
        raise Unpublishable(f"{path}: {explained(error)}{hint}") from error
    try:
        await datasette._startup_sequence()  # what `datasette serve` calls
    except (StartupError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise Unpublishable(f"metadata.yml or datasette.yml: {_sentence(error)}") from error
    datasette.sql_time_limit_ms = visitors_limit_ms
    database = datasette.get_database(PUBLISHED_AS)
    threading.Thread(target=database.watch, name="time limit", daemon=True).start()


class Published(Datasette):  # type: ignore[misc]  # Datasette ships no types
    """A Datasette that goes on with the schema it knows while it can't look for a newer one."""

    async def refresh_schemas(self, *, force: bool = False) -> None:
        """Look, at most once a second; Datasette's own would answer 500 if that takes too long."""
        with suppress(QueryInterrupted):
            await super().refresh_schemas(force=force)


class BadStatement(sqlite3.OperationalError, BadRequest):  # type: ignore[misc]
    """SQL that its visitor got wrong, or a value for it.

    To Datasette's pages it is an error of SQLite's; where they don't handle those, a 400.
    """


class ReadOnly(Database):  # type: ignore[misc]  # Datasette ships no types
    """A file that no connection of this process can write to.

    Datasette would open a second connection for its write API, and takes a path
    as part of a URI as it is, so that ``?``, ``#`` and ``%`` in it go wrong.

    What visitors ask runs in threads of its own, so that neither Datasette's own
    bookkeeping nor our pages wait for it.
    """

    @property
    def connection_class(self) -> type[sqlite3.Connection]:
        return LimitedConnection

    def __init__(self, datasette: Datasette, path: str) -> None:
        super().__init__(datasette, path)
        self._threads = ThreadPoolExecutor(
            max(1, datasette.setting("num_sql_threads")), "visitors-sql", initializer=_give_way
        )
        self._opened = threading.local()  # by each thread

    def connect(self, write: bool = False) -> sqlite3.Connection:  # noqa: ARG002
        connection = sqlite3.connect(
            f"{Path(self.path).as_uri()}?mode=ro",
            uri=True,
            check_same_thread=False,
            isolation_level=None,  # or a statement that begins like a write begins a transaction
            factory=self.connection_class,
        )
        self._all_connections.append(connection)
        return connection

    def watch(self) -> None:
        """Interrupt what is over its time limit, until this is closed; for a thread of its own."""
        while not self._closed:
            sleep(WATCH_EVERY_S)
            for connection in list(self._all_connections):
                connection.interrupt_if_time_is_up()

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)
        super().close()

    async def _execute_fn(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Datasette's own would use the threads of its bookkeeping."""
        context = contextvars.copy_context()  # of its tracing
        answer = self._threads.submit(context.run, self._with_connection, fn)
        answered = asyncio.wrap_future(answer)
        try:
            return await asyncio.shield(answered)
        except asyncio.CancelledError:
            # Nobody waits for it, but it keeps its place for as long as it keeps a thread.
            if not answer.cancel():
                await asyncio.wait([answered])
                answered.exception()
            raise
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as error:
            if getattr(error, "sqlite_errorcode", None) in {None, *STATEMENT_CODES}:
                raise BadStatement(str(error)) from error
            raise

    def _with_connection(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        if not hasattr(self._opened, "connection"):
            self._opened.connection = self.connect()
            self.ds._prepare_connection(self._opened.connection, self.name)
        return fn(self._opened.connection)

    def _note_truncated(self, results: Results) -> None:
        """Have the page say that it is cut off; refuse what can't say so."""
        form = rendering.get(Rendering())
        form.truncated |= results.truncated
        if results.truncated and form.whole:
            raise BadStatement(CUT_OFF.format(self.ds.max_returned_rows))

    async def _execute_write_fn(self, *_: Any, **__: Any) -> None:
        """Refuse a stored query with ``write: true`` before Datasette tries it and logs how."""
        raise BadStatement("not authorized: SQL can only read here")

    async def execute(
        self, sql: str, *args: Any, log_sql_errors: bool = True, **kwargs: Any
    ) -> Results:
        """Datasette's own would log all of a visitor's faulty SQL, and cut off any answer."""
        try:
            results = await super().execute(sql, *args, log_sql_errors=False, **kwargs)
        except sqlite3.DatabaseError as error:
            if log_sql_errors:
                level = logging.INFO if isinstance(error, BadStatement) else logging.WARNING
                log.log(level, "%.*r: %s", LOGGED_SQL_CHARACTERS, sql, _sentence(error)[:200])
            raise
        if kwargs.get("page_size") is None:  # a page's rows are followed by the next page's
            self._note_truncated(results)
        return results


def _give_way() -> None:
    """Lower this thread's priority; only Linux has one for each thread."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), SQL_NICENESS)


def _tell_plugins(datasette: Datasette, **settings: str) -> None:
    """Add to what datasette.yml tells our plugins; where one is unset, an owner's own stands."""
    told = datasette.config.get("plugins") or {}
    ours = {name: text for name, text in settings.items() if text}
    ours = {**(told.get(PUBLISHED_AS) or {}), **ours}
    datasette.config["plugins"] = {**told, PUBLISHED_AS: ours}


def _shipped() -> Path:
    """The folder that holds our files: inside the package, or a checkout's root."""
    package = Path(__file__).parent.parent
    packaged = package / "published"
    return packaged if packaged.is_dir() else package.parent


def _beside(database: Path, shipped: Path) -> Path:
    owners = database.parent / shipped.name
    return owners if owners.is_file() else shipped


def _mapping(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Unpublishable(f"{path}: {_sentence(error)}") from error
    if not _well_formed(content):
        raise Unpublishable(f"{path}: names with values are expected, as in the shipped one")
    mapping: dict[str, Any] = content
    return mapping


def _well_formed(content: Any) -> bool:
    """Whether there are mappings wherever Datasette takes them for granted."""
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
