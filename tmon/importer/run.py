"""Storing a file's readings, through the same checks and the same insert as any others."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from sqlite_utils import Database

from tmon.core.errors import CannotImport
from tmon.core.reading import Batch, Node, Reading, Receipt
from tmon.core.time import now_ms
from tmon.db import nodes
from tmon.db.connect import sqlite3
from tmon.db.turns import PATIENCE_S, Turns
from tmon.importer.conflicts import Conflicts
from tmon.importer.record import Recorder, Source
from tmon.importer.survey import Survey, Tally
from tmon.store.commit import Store

READINGS_AT_FIRST = 500
READINGS_AT_LEAST = 100  # on a slow card the sync takes the time, not the readings
READINGS_AT_MOST = 10_000
T = TypeVar("T")


class Importer:
    """Owns the database for an import, and takes turns with who else writes to it."""

    def __init__(self, db: Database, source: Source, patience_s: float = PATIENCE_S) -> None:
        self._db = db
        self._turns = Turns(
            at_first=READINGS_AT_FIRST,
            at_least=READINGS_AT_LEAST,
            at_most=READINGS_AT_MOST,
            patience_s=patience_s,
        )
        self._recorder = self._turn(lambda: Recorder.begin(db, source, now_ms()))
        self._store = Store(
            db,
            keep_rejected=False,
            on_foreign_change=self._turns.lock_taken,
            on_stored=self._recorder.stored,
        )
        self._nodes: dict[str, Node] = {}

    @property
    def readings(self) -> int:
        """How many to hand over in one turn."""
        return self._turns.size

    def store(self, waiting: dict[str, list[Reading]], received_ms: int) -> list[Receipt]:
        """Store readings by their nodes' names; nodes are made where there are none.

        Raises:
            CannotImport: the database takes no more; what was stored before stays.
        """
        batches = [
            Batch(self._node(name), received_ms, readings)
            for name, readings in waiting.items()
            if readings
        ]
        receipts = self._turn(lambda: self._store.commit(batches))
        self._turns.did(sum(map(len, waiting.values())))
        return receipts

    def end(self, tally: Tally) -> None:
        """Write down that all of the file was gone through, and what became of it."""
        rejected = tally.rejected.total()
        self._turn(lambda: self._recorder.end(tally.already_there, rejected, now_ms()))

    def _node(self, name: str) -> Node:
        if name not in self._nodes:
            known = self._turn(lambda: nodes.find_or_make(self._db, name))
            self._nodes[name] = Node(known.uid, known.name, name)
        return self._nodes[name]

    def _turn(self, write: Callable[[], T]) -> T:
        try:
            return self._turns.take(write)
        except sqlite3.Error as error:
            raise CannotImport(
                f"{error}; what is stored stays: put that right and run it again"
            ) from error


def look_through(survey: Survey, database: Path, progress: Callable[[int], object]) -> None:
    """Read all of a file, compare it with what the database has, and store nothing."""
    with Conflicts(database) as conflicts:
        for number, (name, readings) in enumerate(survey.portions(), 1):
            conflicts.add(name, readings)
            if number % READINGS_AT_MOST == 0:
                progress(survey.table.file.progress_bytes())
        survey.conflicts = conflicts.count()
    progress(survey.table.file.progress_bytes())


def store(db: Database, survey: Survey, source: Source, progress: Callable[[int], object]) -> None:
    """Store a file's readings; again, it goes on where it was stopped.

    Args:
        db: where to.
        survey: of the file, and not begun; its tally tells what became of the readings.
        source: what `tmon imports` is to say of the file.
        progress: told how many bytes further the file is read.

    Raises:
        CannotImport: the database takes no more, or somebody stopped it; what was stored stays.
    """
    tally, importer = survey.tally, Importer(db, source)
    try:
        for portion in _portions(survey, importer):
            for receipt in importer.store(portion, now_ms()):
                tally.add(receipt)
            survey.conflicts = tally.conflicts
            progress(survey.table.file.progress_bytes())
        importer.end(tally)
    except KeyboardInterrupt:
        raise CannotImport(f"{tally.stored:,} stored; run it again to go on") from None


def _portions(survey: Survey, importer: Importer) -> Iterator[dict[str, list[Reading]]]:
    """Readings by their node's name, as many at a time as a turn can take."""
    portion: dict[str, list[Reading]] = {}
    size = 0
    for name, readings in survey.portions():
        portion.setdefault(name, []).extend(readings)
        size += len(readings)
        if size >= importer.readings:
            yield portion
            portion, size = {}, 0
    yield portion
