"""Compare a file's readings with the database, and store them as those of nodes are stored."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Self, TypeVar

from sqlite_utils import Database

from tmon.core.errors import CannotImport
from tmon.core.reading import Batch, Node, Reading, Receipt, Refusal
from tmon.core.time import now_ms
from tmon.db import nodes
from tmon.db.chunk_pacer import PATIENCE_S, ChunkPacer, ChunkSizes
from tmon.db.connect import open_for_reading, sqlite3
from tmon.importer.record import Recorder, Source
from tmon.importer.survey import Survey
from tmon.store.commit import Store
from tmon.store.refusals import check_unit, pruned
from tmon.store.sensors import FIRST_MS, Sensor

# At least 100: on a slow card the sync takes the time, not the readings.
READINGS = ChunkSizes(first=500, least=100, most=10_000)
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
create table sensors (id, unit, pruned_before_ms);
"""
_ADD = """insert into seen
    select ?1, ?3, coalesce(there.value, ?4), coalesce(there.value <> ?4, 0)
    from (select 1) left join readings as there on there.sensor = ?2 and there.measured_ms = ?3
    where true
    on conflict do update set conflicts = conflicts + (value <> ?4)"""
_STORED_AS = """select id, unit, coalesce(pruned_before_ms, ?), 0,
    pruned_before_ms is null and not exists (select 1 from readings where sensor = sensors.id)
    from sensor_names join nodes on nodes.uid = node_uid join sensors on sensors.id = sensor
    where nodes.name = ? and wire_name = ?"""
T = TypeVar("T")


class Importer:
    """Owns the database for an import, in turns with the other writers."""

    def __init__(self, db: Database, source: Source, patience_s: float = PATIENCE_S) -> None:
        self._db = db
        self.pacer = ChunkPacer(READINGS, patience_s)
        self._recorder = self._turn(lambda: Recorder.begin(db, source, now_ms()))
        self._store = Store(
            db,
            imports=True,
            on_foreign_change=self.pacer.lock_acquired,
            on_stored=self._recorder.stored,
        )
        self._nodes: dict[str, Node] = {}

    def store(self, waiting: dict[str, list[Reading]], received_ms: int) -> list[Receipt]:
        """Store readings by their nodes' names; missing nodes are created.

        Raises:
            CannotImport: the database can't be written; what was stored before stays.
        """
        batches = []
        for name, readings in waiting.items():
            if not readings:
                continue
            if name not in self._nodes:
                known = self._turn(partial(nodes.find_or_make, self._db, name))
                self._nodes[name] = Node(known.uid, known.name, name)
            batches.append(Batch(self._nodes[name], received_ms, readings))
        receipts = self._turn(lambda: self._store.commit(batches))
        self.pacer.record(sum(map(len, waiting.values())))
        return receipts

    def finish(self, *, already_there: int, rejected: int) -> None:
        """Record that the file was read to its end, and what became of its readings."""
        self._turn(lambda: self._recorder.end(already_there, rejected, now_ms()))

    def _turn(self, write: Callable[[], T]) -> T:
        try:
            return self.pacer.run(write)
        except sqlite3.Error as error:
            raise CannotImport(
                f"{error}; what is stored stays: put that right and run it again"
            ) from error


class Conflicts:
    """Counts the conflicting readings of one file of any size; a context manager."""

    def __init__(self, database: Path) -> None:
        # By node and name: a sensor's number in this file, and in the database if it is there.
        self._sensors: dict[tuple[str, str], tuple[int, Sensor | None]] = {}
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

    def add(self, node: str, readings: list[Reading]) -> Iterator[tuple[Reading, Refusal]]:
        """Compare readings with earlier ones of the file, and with the database.

        Those come back that the database will refuse for their unit, or as pruned.
        """
        for reading in readings:
            key = node, reading.sensor
            if key not in self._sensors:
                row = self._db.execute(_STORED_AS, [FIRST_MS, *key]).fetchone()
                self._sensors[key] = len(self._sensors), Sensor(*row) if row else None
            number, stored = self._sensors[key]
            if stored:
                try:
                    if reading.unit != stored.unit and not stored.empty:
                        check_unit(reading, stored)
                    if reading.measured_ms < stored.kept_from_ms:
                        raise pruned(reading, stored)
                except Refusal as refusal:
                    yield reading, refusal
                    continue
            there = stored.id if stored else None
            self._waiting.append((number, there, reading.measured_ms, reading.value))
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


def scan(survey: Survey, database: Path, progress: Callable[[int], object]) -> None:
    """Read a whole file and compare it with the database, without storing anything."""
    with Conflicts(database) as conflicts:
        for number, (name, readings) in enumerate(survey.rows(), 1):
            for reading, refusal in conflicts.add(name, readings):
                survey.refused += 1
                survey.tally.reject(reading.index, refusal, reading.sensor, 1, ())
            if number % READINGS.most == 0:
                progress(survey.table.file.progress_bytes())
        survey.conflicts = conflicts.count()
    progress(survey.table.file.progress_bytes())


def store(db: Database, survey: Survey, source: Source, progress: Callable[[int], object]) -> None:
    """Store a file's readings; run again, it goes on where it was stopped.

    Args:
        db: the database.
        survey: a new survey of the file; its tally counts what became of the readings.
        source: what `tmon imports` shows of the file.
        progress: called with the number of bytes read since its last call.

    Raises:
        CannotImport: the database can't be written, or Ctrl-C; what was stored stays.
    """
    tally, importer = survey.tally, Importer(db, source)
    try:
        for waiting in _batches(survey, importer):
            for receipt in importer.store(waiting, now_ms()):
                tally.add(receipt)
            survey.conflicts = tally.conflicts
            progress(survey.table.file.progress_bytes())
        importer.finish(already_there=tally.already_there, rejected=tally.rejected.total())
    except KeyboardInterrupt:
        raise CannotImport(f"{tally.stored:,} stored; run it again to go on") from None


def _batches(survey: Survey, importer: Importer) -> Iterator[dict[str, list[Reading]]]:
    """Readings by their node's name, as many at a time as fit in a turn."""
    waiting: dict[str, list[Reading]] = {}
    size = 0
    for name, readings in survey.rows():
        waiting.setdefault(name, []).extend(readings)
        size += len(readings)
        if size >= importer.pacer.size:
            yield waiting
            waiting, size = {}, 0
    yield waiting


def _is_ours(database: Path) -> bool:
    if not database.exists():
        return False
    with open_for_reading(database) as db:
        return "sensor_names" in db.table_names()
