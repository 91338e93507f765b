"""Imports without files: rows are stored and recorded as `tmon import` does."""

import itertools
from collections.abc import Sequence
from pathlib import Path

from sqlite_utils import Database

from tests.maintenance.old_readings import NOW_MS, Rows, ask
from tmon.core.reading import Batch, Node, Reading, Receipt
from tmon.db import nodes
from tmon.db.connect import open_database
from tmon.importer.record import Recorder, Source
from tmon.maintenance import imports
from tmon.store.commit import Store

SOURCE = Source("a.csv", "ab" * 32, "n")


class Import:
    """An import under way."""

    def __init__(self, db: Database, node: str = "n") -> None:
        self.recorder = Recorder.begin(db, SOURCE, NOW_MS)
        self.number = self.recorder.number
        self._node = Node(nodes.find_or_make(db, node).uid, node, node)
        self._store = Store(db, imports=True, on_stored=self.recorder.stored)

    def store(self, rows: Rows, sensor: str = "t", unit: str | None = "°C") -> Receipt:
        """One portion."""
        readings = [Reading(0, sensor, value, unit, at) for at, value in rows]
        [receipt] = self._store.commit([Batch(self._node, NOW_MS, readings)])
        return receipt


def imported(
    path: Path,
    rows: Rows,
    portions: Sequence[int] = (500,),
    sensor: str = "t",
    unit: str | None = "°C",
) -> int:
    """An import's number; its portions are of these sizes, again and again."""
    with open_database(path, create=True) as db:
        one, left, already = Import(db), iter(rows), 0
        for size in itertools.cycle(portions):
            portion = [*itertools.islice(left, size)]
            if not portion:
                break
            already += one.store(portion, sensor, unit).duplicates
        one.recorder.end(already, 0, NOW_MS)
    return one.number


def undone(path: Path, number: int) -> int:
    """Undo an import, without waiting for an ingest; returns how many readings were deleted."""
    with open_database(path) as db:
        return imports.undo(db, number, NOW_MS, pause=lambda _: None)


def whys(path: Path, number: int) -> set[str]:
    """Why readings of an import can't be taken back."""
    with open_database(path) as db:
        return {part.why for part in imports.plan(db, number) if part.why}


def stored(path: Path) -> Rows:
    return ask(path, "select measured_ms, value from readings order by sensor, measured_ms")


def runs(path: Path) -> list[tuple[int, int, int, int]]:
    sql = "select import, first_ms, last_ms, count from import_runs order by import, first_ms"
    return ask(path, sql)
