"""How many devices wait for the owner: copied from the devices' file, which isn't published."""

import logging
from contextlib import closing
from pathlib import Path

import msgspec
from sqlite_utils import Database

from tmon.db.connect import sqlite3, transaction
from tmon.db.database_file import connect_uri
from tmon.db.devices import path_beside
from tmon.db.identity import log_of

LOCKED_S = 0.1  # the writer must not wait for long; it tries again a minute later

_COUNT = """
select gateway, count(*) from devices where node_uid is null and not ignored group by gateway
"""
_UPDATE = """
update keys set devices_waiting = counted.n
from (
    select id, coalesce((select value from json_each(?) where key = gateway), 0) as n from keys
) as counted
where counted.id = keys.id and devices_waiting <> counted.n
"""

log = logging.getLogger("tmon.writer")


class WaitingDevices:
    """Keeps ``keys.devices_waiting`` as the devices' file has it, once that has changed."""

    def __init__(self, db: Database, path: Path) -> None:
        self._db = db
        self._path = path_beside(path)
        self._copied: object = None  # the state of the file at the last copy

    def flush(self) -> None:
        """Copy the counts; nothing, if the file can't be read now.

        Raises:
            sqlite3.Error: the database can't be written.
        """
        try:
            state = [_state(self._path), _state(log_of(self._path))]
            if state == self._copied:
                return
            counts = self._count() if state[0] else {}
        except (sqlite3.Error, OSError) as error:
            log.warning("devices that wait aren't counted: %s: %s", self._path.name, error)
            return
        with transaction(self._db):
            self._db.execute(_UPDATE, [msgspec.json.encode(counts).decode()])
        self._copied = state

    def _count(self) -> dict[str, int]:
        with closing(connect_uri(self._path, "mode=rw", timeout=LOCKED_S)) as devices:
            return dict(devices.execute(_COUNT).fetchall())


def _state(path: Path) -> tuple[int, ...]:
    """What differs once a file was written to; empty where there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns
