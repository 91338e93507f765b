"""Queries of our own pages: threads, time limit, retries."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

from datasette import hookimpl
from datasette.database import QueryInterrupted
from datasette.utils import sqlite_timelimit

from tmon.core.languages import language

DATABASE = "tmon"  # its name in Datasette and in addresses
RETRY_PAUSES_S = (0.1, 0.3, 0.6, 1.0)  # after a query ran out of memory
THREADS = 2  # for our pages alone, so that visitors' SQL can't block them

# SQL: leaves out readings more than 10 minutes in the future, as the view `latest` does.
NOT_AHEAD = "measured_ms <= (unixepoch() + 600) * 1000"

T = TypeVar("T")
Query = Callable[[sqlite3.Connection], T]


class QueryThreads:
    """Threads that read the file for our pages, each with a connection of its own.

    ``limit_ms`` is the time limit of a query that has none of its own.
    """

    def __init__(self, datasette: Any) -> None:
        self.limit_ms: float = datasette.sql_time_limit_ms
        self._datasette = datasette
        self._threads = ThreadPoolExecutor(THREADS, "pages")
        self._local = threading.local()

    async def run(self, query: Query[T], limit_ms: float) -> T:
        # Not in a variable: an error would keep itself, and with it a statement that was ended. As
        # long as one is open, SQLite ends all others of its connection, in silence.
        return await asyncio.wrap_future(
            self._threads.submit(self._run, query, limit_ms, language.get())
        )

    def _run(self, query: Query[T], limit_ms: float, language_name: str) -> T:
        language.set(language_name)  # for what the query says to people
        if not hasattr(self._local, "connection"):
            self._local.connection = self._datasette.get_database(DATABASE).connect()
            self._datasette._prepare_connection(self._local.connection, DATABASE)
        connection: sqlite3.Connection = self._local.connection
        with sqlite_timelimit(connection, limit_ms):
            return query(connection)

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)


query_threads = cache(QueryThreads)  # one for each Datasette


@hookimpl
def shutdown(datasette: Any) -> None:
    """Wait for running queries: Datasette closes the connections next."""
    query_threads(datasette).close()


def is_interrupted(error: Exception) -> bool:
    """Whether SQLite was stopped by the time limit."""
    return str(error) == "interrupted"


async def run_query(datasette: Any, query: Query[T], limit_ms: float | None = None) -> T:
    """Run a query in one of our threads.

    Args:
        datasette: whose database.
        query: called with a read-only connection.
        limit_ms: a time limit other than Datasette's.

    Raises:
        QueryInterrupted: it took longer.
    """
    threads = query_threads(datasette)
    try:
        for pause_s in RETRY_PAUSES_S:
            try:
                return await threads.run(query, limit_ms or threads.limit_ms)
            except MemoryError:  # a visitor's query has all of it, for as long as it may run
                await asyncio.sleep(pause_s)
        return await threads.run(query, limit_ms or threads.limit_ms)
    except Exception as error:
        if is_interrupted(error):
            raise QueryInterrupted(error, "", {}) from error
        raise


def newest_reading_ms(connection: sqlite3.Connection) -> int | None:
    """When the newest reading was measured (Unix ms)."""
    sql = f"select max(measured_ms) from readings where {NOT_AHEAD}"
    newest_ms: int | None = connection.execute(sql).fetchone()[0]
    return newest_ms
