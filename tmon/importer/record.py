"""Which readings an import stored, written down so that it can be undone."""

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
from tmon.store.commit import Row

RUN_LIMIT = 256  # readings; an undo looks at a whole run, and deletes it, in one transaction
# A run is written anew when readings are added to it. Where few come at a time, as of one of a
# thousand sensors, that would soon cost more than the readings themselves.
WRITTEN_ANEW = 16


@dataclass(frozen=True)
class Source:
    """What is imported, as everybody can read it in ``imports``.

    Of ``file``, a path or - for standard input, the last part is kept. ``sha256`` is the
    file's, in hexadecimal. ``node`` is whose readings these are; None where a column of the
    file says so. ``note`` tells what was taken for granted, such as the time zone.
    """

    file: str
    sha256: str | None
    node: str | None
    note: str | None = None


def sha256_of(path: str) -> str | None:
    """A file's SHA-256; None of what can be read only once, such as standard input."""
    if not Path(path).is_file():
        return None
    with Path(path).open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def pack(instants: Sequence[int]) -> bytes:
    """Times in ms for ``import_runs.times``: the first, then the steps, as JSON by zlib.

    Steps are mostly alike, so it takes a byte or less for most readings.
    """
    steps = (after - before for before, after in pairwise(instants))
    return zlib.compress(json.dumps([instants[0], *steps], separators=(",", ":")).encode())


def unpack(times: bytes) -> list[int]:
    """The times in ms that ``pack`` was given."""
    return [*accumulate(json.loads(zlib.decompress(times)))]


class Newest(NamedTuple):
    """The run of a sensor that was written last."""

    id: int
    readings: int
    times: bytes


class Recorder:
    """One import's row in ``imports``, and the runs of readings that it stored.

    ``stored`` is called within the transaction that stores the readings. So whenever an
    import is killed, exactly what it stored is written down.
    """

    def __init__(self, db: Database, number: int, node: str | None) -> None:
        self.number = number
        self._db = db
        self._node = node
        self._newest: dict[int, Newest] = {}  # by sensor

    @classmethod
    def begin(cls, db: Database, source: Source, now_ms: int) -> Self:
        """Make the import's row, in a transaction of its own."""
        file = clip(Path(source.file).name or source.file)
        with transaction(db):
            [number] = db.execute(
                "insert into imports (file, sha256, note, started_ms) values (?, ?, ?, ?)"
                " returning id",
                [file, source.sha256, source.note, now_ms],
            ).fetchone()
        return cls(db, int(number), source.node)

    def stored(self, rows: Sequence[Row]) -> None:
        """Write down readings that were stored just now, within the same transaction."""
        if not rows:
            return
        for sensor, group in groupby(sorted(rows), itemgetter(0)):
            self._add(sensor, [measured_ms for _, measured_ms, _ in group])
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
        """Write down what became of the other readings; a killed import's row has no end."""
        with transaction(self._db):
            self._db.execute(
                "update imports set already_there = ?, rejected = ?, ended_ms = ? where id = ?",
                [already_there, rejected, now_ms, self.number],
            )

    def _add(self, sensor: int, instants: list[int]) -> None:
        """Let the run written last hold these as well if it has room, or else new runs."""
        if self._extend(sensor, instants):
            return
        for start in range(0, len(instants), RUN_LIMIT):
            part = instants[start : start + RUN_LIMIT]
            times = pack(part)
            [run] = self._db.execute(
                "insert into import_runs (import, sensor, first_ms, last_ms, count, times)"
                " values (?, ?, ?, ?, ?, ?) returning id",
                [self.number, sensor, min(part), max(part), len(part), times],
            ).fetchone()
            self._newest[sensor] = Newest(run, len(part), times)

    def _extend(self, sensor: int, instants: list[int]) -> bool:
        """Whether the run written last took them.

        It takes none where it is another by now: a transaction was rolled back, the run was
        undone, or its sensor became another's.
        """
        run = self._newest.get(sensor)
        if run is None or run.readings + len(instants) > RUN_LIMIT:
            return False
        if run.readings > WRITTEN_ANEW * len(instants):
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
