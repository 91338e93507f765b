"""``tmon import``: another logger's history, through the same checks and the same insert."""

from collections import Counter
from collections.abc import Callable, Iterator
from time import monotonic, sleep
from typing import TypeVar

from sqlite_utils import Database

from ingest import nodes
from ingest.reading import Batch, Node, Reading, Receipt, Refusal
from ingest.schema import sqlite3
from ingest.store import Store
from ingest.wire.csv import CannotImport as CannotImport
from ingest.wire.csv import Reader, Table
from ingest.wire.csv import Recipe as Recipe
from ingest.wire.csv import open_table as open_table

HOLD_S = 0.015  # what a transaction is to take; a live server bears 50 ms
READINGS_AT_FIRST = 500
READINGS_AT_LEAST = 100  # on a slow card the sync takes the time, not the readings
READINGS_AT_MOST = 10_000
SMOOTHING = 0.5  # now and then a checkpoint makes one commit look slow

# SQLite's busy handler looks again after 1, 2, 5, 10, 15, 20 ms: steps no longer than it
# has waited. So a gap a little longer than the transaction before it lets every waiter in.
GAP_PER_HOLD = 1.2
GAP_AT_MOST_S = 0.025
PATIENCE_S = 60.0  # with who holds the lock; another import leaves gaps as this one does

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


class Turns:
    """Owns the database for an import, and takes turns with who else writes to it.

    Transactions take about 15 ms, however fast the disk is, and between two of
    them there is time for another writer.
    """

    def __init__(self, db: Database, patience_s: float = PATIENCE_S) -> None:
        self.readings = READINGS_AT_FIRST  # to hand over in one turn
        self._db = db
        self._patience_s = patience_s
        self._began_s = self._ended_s = monotonic()
        self._store = Store(db, keep_rejected=False, on_foreign_change=self._lock_taken)
        self._nodes: dict[str, Node] = {}

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
        self._resize(sum(map(len, waiting.values())))
        return receipts

    def _node(self, name: str) -> Node:
        if name not in self._nodes:
            known = self._turn(lambda: nodes.find_or_make(self._db, name))
            self._nodes[name] = Node(known.uid, known.name, name)
        return self._nodes[name]

    def _turn(self, write: Callable[[], T]) -> T:
        gap_s = min(GAP_PER_HOLD * (self._ended_s - self._began_s), GAP_AT_MOST_S)
        sleep(max(0.0, self._ended_s + gap_s - monotonic()))
        result = self._patiently(write)
        self._ended_s = monotonic()
        return result

    def _patiently(self, write: Callable[[], T]) -> T:
        give_up_s = monotonic() + self._patience_s
        while True:
            self._began_s = monotonic()
            try:
                return write()
            except sqlite3.Error as error:
                if "locked" not in str(error) or monotonic() > give_up_s:
                    raise CannotImport(
                        f"{error}; what is stored stays: put that right and run it again"
                    ) from error

    def _lock_taken(self) -> None:
        """The store tells, with the lock taken, that others wrote: until now we waited."""
        self._began_s = monotonic()

    def _resize(self, stored: int) -> None:
        took_s = max(self._ended_s - self._began_s, 0.001)
        fitting = stored * HOLD_S / took_s
        wanted = round(self.readings + SMOOTHING * (min(fitting, 2 * stored) - self.readings))
        self.readings = min(max(wanted, READINGS_AT_LEAST), READINGS_AT_MOST)


def import_table(
    db: Database, table: Table, recipe: Recipe, progress: Callable[[int], object]
) -> Tally:
    """Store a table's readings; again, it goes on where it was stopped.

    Args:
        db: where to.
        table: has the recipe's columns.
        recipe: what they mean.
        progress: told how many bytes further the table is.

    Raises:
        CannotImport: the database takes no more; what was stored before stays.
    """
    tally, turns, received_ms = Tally(), Turns(db), nodes.now_ms()
    reader = Reader(table, recipe, received_ms, tally.reject)
    for portion in _portions(reader, turns):
        for receipt in turns.store(portion, received_ms):
            tally.add(receipt)
        progress(table.progress_bytes())
    return tally


def _portions(reader: Reader, turns: Turns) -> Iterator[dict[str, list[Reading]]]:
    """Readings by their node's name, as many at a time as a turn can take."""
    portion: dict[str, list[Reading]] = {}
    size = 0
    for name, readings in reader:
        portion.setdefault(name, []).extend(readings)
        size += len(readings)
        if size >= turns.readings:
            yield portion
            portion, size = {}, 0
    yield portion
