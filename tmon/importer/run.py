"""Store a file's readings, through the same checks and the same insert as those of nodes."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

from sqlite_utils import Database

from tmon.core.errors import CannotImport
from tmon.core.reading import Batch, Node, Reading, Receipt
from tmon.core.time import now_ms
from tmon.db import nodes
from tmon.db.chunk_pacer import PATIENCE_S, ChunkPacer, ChunkSizes
from tmon.db.connect import sqlite3
from tmon.importer.conflicts import Conflicts
from tmon.importer.record import Recorder, Source
from tmon.importer.survey import Survey
from tmon.store.commit import Store

# At least 100: on a slow card the sync takes the time, not the readings.
READINGS = ChunkSizes(first=500, least=100, most=10_000)
T = TypeVar("T")


class Importer:
    """Owns the database for an import, in turns with the other writers."""

    def __init__(self, db: Database, source: Source, patience_s: float = PATIENCE_S) -> None:
        self._db = db
        self._pacer = ChunkPacer(READINGS, patience_s)
        self._recorder = self._turn(lambda: Recorder.begin(db, source, now_ms()))
        self._store = Store(
            db,
            imports=True,
            on_foreign_change=self._pacer.lock_acquired,
            on_stored=self._recorder.stored,
        )
        self._nodes: dict[str, Node] = {}

    @property
    def readings(self) -> int:
        """How many to store in one turn."""
        return self._pacer.size

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
        self._pacer.record(sum(map(len, waiting.values())))
        return receipts

    def finish(self, *, already_there: int, rejected: int) -> None:
        """Record that the file was read to its end, and what became of its readings."""
        self._turn(lambda: self._recorder.end(already_there, rejected, now_ms()))

    def _turn(self, write: Callable[[], T]) -> T:
        try:
            return self._pacer.run(write)
        except sqlite3.Error as error:
            raise CannotImport(
                f"{error}; what is stored stays: put that right and run it again"
            ) from error


def scan(survey: Survey, database: Path, progress: Callable[[int], object]) -> None:
    """Read a whole file and compare it with the database, without storing anything."""
    with Conflicts(database) as conflicts:
        for number, (name, readings) in enumerate(survey.rows(), 1):
            conflicts.add(name, readings)
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
        if size >= importer.readings:
            yield waiting
            waiting, size = {}, 0
    yield waiting
