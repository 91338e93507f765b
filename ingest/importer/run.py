"""``tmon import``: another logger's history, through the same checks and the same insert."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TypeVar

from sqlite_utils import Database

from ingest import nodes
from ingest.importer.record import Recorder
from ingest.importer.record import Source as Source
from ingest.importer.table import CannotImport as CannotImport
from ingest.importer.table import Reader, Table
from ingest.importer.table import Recipe as Recipe
from ingest.importer.table import open_table as open_table
from ingest.reading import Batch, Node, Reading, Receipt, Refusal
from ingest.schema import sqlite3
from ingest.store import Store
from ingest.turns import PATIENCE_S, Turns

READINGS_AT_FIRST = 500
READINGS_AT_LEAST = 100  # on a slow card the sync takes the time, not the readings
READINGS_AT_MOST = 10_000
T = TypeVar("T")


class Tally:
    """What became of each reading of a file."""

    def __init__(self) -> None:
        self.stored = 0
        self.already_there = 0
        self.rejected: Counter[tuple[str, str]] = Counter()  # by code and sensor
        self._examples: dict[tuple[str, str], str] = {}

    def reject(self, line: int, refusal: Refusal, sensor: str, readings: int) -> None:
        """Count what was refused in one line of the file."""
        self._reject((refusal.code, sensor), f"line {line}: {refusal.reason}", readings)

    def add(self, receipt: Receipt) -> None:
        """Count what the store says; its indices are the file's line numbers."""
        self.stored += receipt.accepted
        self.already_there += receipt.duplicates
        for told in receipt.rejected:
            self._reject((told.code, told.sensor or ""), f"line {told.index}: {told.error}", 1)

    def lines(self) -> Iterator[str]:
        """The summary for people."""
        yield f"stored         {self.stored:>11,}"
        yield f"already there  {self.already_there:>11,}"
        yield f"rejected       {self.rejected.total():>11,}"
        for kind, readings in self.rejected.most_common():
            yield f"  {' '.join(kind).strip()}: {readings:,}, such as {self._examples[kind]}"

    def _reject(self, kind: tuple[str, str], example: str, readings: int) -> None:
        self.rejected[kind] += readings
        self._examples.setdefault(kind, example)


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
        self._recorder = self._turn(lambda: Recorder.begin(db, source, nodes.now_ms()))
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
        self._turn(lambda: self._recorder.end(tally.already_there, rejected, nodes.now_ms()))

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


def import_table(
    db: Database, table: Table, recipe: Recipe, source: Source, progress: Callable[[int], object]
) -> Tally:
    """Store a table's readings; again, it goes on where it was stopped.

    Args:
        db: where to.
        table: has the recipe's columns.
        recipe: what they mean.
        source: what `tmon imports` is to say of the file.
        progress: told how many bytes further the table is.

    Raises:
        CannotImport: the database takes no more; what was stored before stays.
    """
    tally, importer = Tally(), Importer(db, source)
    reader = Reader(table, recipe, nodes.now_ms(), tally.reject)
    for portion in _portions(reader, importer):
        for receipt in importer.store(portion, nodes.now_ms()):
            tally.add(receipt)
        progress(table.progress_bytes())
    importer.end(tally)
    return tally


def _portions(reader: Reader, importer: Importer) -> Iterator[dict[str, list[Reading]]]:
    """Readings by their node's name, as many at a time as a turn can take."""
    portion: dict[str, list[Reading]] = {}
    size = 0
    for name, readings in reader:
        portion.setdefault(name, []).extend(readings)
        size += len(readings)
        if size >= importer.readings:
            yield portion
            portion, size = {}, 0
    yield portion
