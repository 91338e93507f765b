"""Record which readings an import stored, so that it can be undone."""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import file_digest
from itertools import accumulate, groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple, Self

from sqlite_utils import Database

from tmon.core.reading import clip
from tmon.db.connect import transaction
from tmon.store.insert import Row

RUN_LIMIT = 256  # readings; an undo checks and deletes a whole run in one transaction
# Adding readings rewrites a run. Where few come at a time, as with a thousand sensors, that soon
# costs more than the readings themselves; so a run is rewritten up to this multiple of them.
REWRITE_LIMIT = 16


@dataclass(frozen=True)
class Source:
    """What is imported, as everybody can read it in ``imports``.

    Only the last part of ``file`` is stored: a path, or - for standard input. ``sha256`` is in
    hexadecimal. ``node`` is None where a column names the nodes. ``note`` is what was assumed,
    such as the time zone.
    """

    file: str
    sha256: str | None
    node: str | None
    note: str | None = None


def sha256_of(path: str) -> str | None:
    """A file's SHA-256; None for a pipe or standard input, which can be read only once."""
    if not Path(path).is_file():
        return None
    with Path(path).open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def pack(instants: Sequence[int]) -> bytes:
    """Encode times in ms for ``import_runs.times``: the first, then the steps, as zlib's JSON.

    Most steps are equal, so a reading takes a byte or less.
    """
    steps = (after - before for before, after in pairwise(instants))
    return zlib.compress(json.dumps([instants[0], *steps], separators=(",", ":")).encode())


def unpack(times: bytes) -> list[int]:
    """The times in ms that ``pack`` was given."""
    return [*accumulate(json.loads(zlib.decompress(times)))]


class Newest(NamedTuple):
    """A sensor's latest run."""

    id: int
    readings: int
    times: bytes


class Recorder:
    """Writes one import's row in ``imports`` and the runs of readings that it stored.

    ``stored`` runs in the transaction that stores the readings, so a killed import has recorded
    exactly what it stored.
    """

    def __init__(self, db: Database, number: int, node: str | None) -> None:
        self.number = number
        self._db = db
        self._node = node
        self._newest: dict[int, Newest] = {}  # by sensor

    @classmethod
    def begin(cls, db: Database, source: Source, now_ms: int) -> Self:
        """Insert the import's row, in a transaction of its own."""
        file = clip(Path(source.file).name or source.file)
        with transaction(db):
            [number] = db.execute(
                "insert into imports (file, sha256, note, started_ms) values (?, ?, ?, ?)"
                " returning id",
                [file, source.sha256, source.note, now_ms],
            ).fetchone()
        return cls(db, int(number), source.node)

    def stored(self, rows: Sequence[Row]) -> None:
        """Record readings that were just stored, within the same transaction."""
        if not rows:
            return
        for sensor, group in groupby(sorted(rows), itemgetter(0)):
            added = [measured_ms for _, measured_ms, _ in group]
            if self._extend(sensor, added):
                continue
            for start in range(0, len(added), RUN_LIMIT):
                part = added[start : start + RUN_LIMIT]
                times = pack(part)
                [run] = self._db.execute(
                    "insert into import_runs (import, sensor, first_ms, last_ms, count, times)"
                    " values (?, ?, ?, ?, ?, ?) returning id",
                    [self.number, sensor, min(part), max(part), len(part), times],
                ).fetchone()
                self._newest[sensor] = Newest(run, len(part), times)
        instants = [measured_ms for _, measured_ms, _ in rows]
        self._db.execute(
            "update imports set node = coalesce(node, (select name from nodes where name = :node)),"
            " stored = stored + :stored,"
            " first_ms = min(coalesce(first_ms, :first_ms), :first_ms),"
            " last_ms = max(coalesce(last_ms, :last_ms), :last_ms) where id = :number",
            {
                "node": self._node,
                "stored": len(rows),
                "first_ms": min(instants),
                "last_ms": max(instants),
                "number": self.number,
            },
        )

    def end(self, already_there: int, rejected: int, now_ms: int) -> None:
        """Record that the import is complete, and what became of the other readings."""
        with transaction(self._db):
            self._db.execute(
                "update imports set already_there = ?, rejected = ?, ended_ms = ? where id = ?",
                [already_there, rejected, now_ms, self.number],
            )

    def _extend(self, sensor: int, instants: list[int]) -> bool:
        """Add readings to the sensor's latest run; False if it has no room, or has changed.

        It changes where a transaction is rolled back, the run is undone, or its sensor merged.
        """
        run = self._newest.get(sensor)
        count = len(instants)
        if run is None or run.readings > min(RUN_LIMIT - count, REWRITE_LIMIT * count):
            return False
        longer = unpack(run.times) + instants
        times = pack(longer)
        changed = self._db.execute(
            "update import_runs set first_ms = ?, last_ms = ?, count = ?, times = ?"
            " where id = ? and import = ? and sensor = ? and count = ? and times = ?",
            [
                *(min(longer), max(longer), len(longer), times),
                *(run.id, self.number, sensor, run.readings, run.times),
            ],
        )
        self._newest[sensor] = Newest(run.id, len(longer), times)
        return changed.rowcount == 1
