"""Count readings whose time has another value already, in the file or in the database."""

from contextlib import ExitStack
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Self

from tmon.core.reading import Reading
from tmon.db.connect import open_for_reading, sqlite3

CHUNK = 1_000  # readings that are compared in one transaction

# In a temporary file, as there may be a hundred million readings; it needs no durability.
_BEGIN = """
pragma journal_mode = off;
pragma synchronous = off;
create table seen (sensor, measured_ms, value, conflicts, primary key (sensor, measured_ms))
    without rowid;
"""
_NO_STATION = """
create table readings (sensor, measured_ms, value);
create table nodes (uid, name);
create table sensor_names (sensor, node_uid, wire_name);
"""
_ADD = """insert into seen
    select ?1, ?3, coalesce(there.value, ?4), coalesce(there.value <> ?4, 0)
    from (select 1) left join readings as there on there.sensor = ?2 and there.measured_ms = ?3
    where true
    on conflict do update set conflicts = conflicts + (value <> ?4)"""
_STORED_AS = """select sensor from sensor_names join nodes on nodes.uid = node_uid
    where nodes.name = ? and wire_name = ?"""


class Conflicts:
    """Counts the conflicting readings of one file of any size; a context manager."""

    def __init__(self, database: Path) -> None:
        # By node and name: a sensor's number in this file, and in the database if it is there.
        self._sensors: dict[tuple[str, str], tuple[int, int | None]] = {}
        self._waiting: list[tuple[int, int | None, int, float]] = []
        with ExitStack() as stack:
            file = stack.enter_context(NamedTemporaryFile(prefix="tmon-import-"))
            self._db = sqlite3.connect(Path(file.name).as_uri(), uri=True)
            stack.callback(self._db.close)
            self._db.executescript(_BEGIN)
            if _is_ours(database):
                self._db.execute("attach ? as station", [f"{database.absolute().as_uri()}?mode=ro"])
            else:  # it is made when readings are stored
                self._db.executescript(_NO_STATION)
            self._close = stack.pop_all().close

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def add(self, node: str, readings: list[Reading]) -> None:
        """Compare readings with earlier ones of the file, and with the database."""
        for reading in readings:
            key = node, reading.sensor
            if key not in self._sensors:
                row = self._db.execute(_STORED_AS, key).fetchone()
                self._sensors[key] = len(self._sensors), row[0] if row else None
            self._waiting.append((*self._sensors[key], reading.measured_ms, reading.value))
        if len(self._waiting) >= CHUNK:
            self._compare()

    def count(self) -> int:
        """How many of the added readings conflict."""
        self._compare()
        return int(self._db.execute("select total(conflicts) from seen").fetchone()[0])

    def _compare(self) -> None:
        with self._db:  # a transaction
            self._db.executemany(_ADD, self._waiting)
        self._waiting.clear()


def _is_ours(database: Path) -> bool:
    if not database.exists():
        return False
    with open_for_reading(database) as db:
        return "sensor_names" in db.table_names()
