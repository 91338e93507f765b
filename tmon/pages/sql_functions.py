"""SQL functions that everybody may call, beside SQLite's own."""

from typing import Any

from datasette import hookimpl

from tmon.core import checksum


@hookimpl
def prepare_connection(conn: Any) -> None:
    """Add ``tmon_checksum()``, by which `tmon compare` asks."""
    checksum.register(conn)
