"""Which readings an import stored, written down so that it can be undone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import file_digest
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple, Self

from sqlite_utils import Database

from ingest.reading import clip
from ingest.schema import transaction
from ingest.store import Row

# An undo looks at a whole run, and deletes it, within one transaction.
RUN_LIMIT = 256

_WITHIN = """from readings where sensor = ? and measured_ms between ? and ?
    order by measured_ms limit ?"""


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


class Run(NamedTuple):
    """Readings of one sensor, with no other reading of it among them."""

    first_ms: int
    last_ms: int
    readings: int


class Recorder:
    """One import's row in ``imports``, and the runs of readings that it stored.

    ``stored`` is called within the transaction that stores the readings. So whenever an
    import is killed, exactly what it stored is written down.
    """

    def __init__(self, db: Database, number: int, node: str | None) -> None:
        self.number = number
        self._db = db
        self._node = node
        self._newest: dict[int, tuple[int, Run]] = {}  # by sensor: the run written last, its id
        self._span: dict[int, tuple[int, int]] = {}  # by sensor: of all of this import's runs

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
        """Runs for one sensor's new readings, in the order of time."""
        if self._extend(sensor, instants):
            return
        low, high = self._span.get(sensor, (instants[0], instants[0] - 1))
        if instants[0] <= high and instants[-1] >= low:
            instants = self._outside(sensor, instants)
        for run in self._runs(sensor, instants):
            self._insert(sensor, run)

    def _extend(self, sensor: int, instants: list[int]) -> bool:
        """Let the run written last hold these as well, if nothing else is among them."""
        if sensor not in self._newest:
            return False
        number, run = self._newest[sensor]
        longer = Run(
            min(run.first_ms, instants[0]),
            max(run.last_ms, instants[-1]),
            run.readings + len(instants),
        )
        if longer.readings > RUN_LIMIT or not self._is_alone(sensor, longer):
            return False
        self._db.execute(
            "update import_runs set first_ms = ?, last_ms = ?, count = ? where id = ?",
            [*longer, number],
        )
        self._remember(sensor, number, longer)
        return True

    def _outside(self, sensor: int, instants: list[int]) -> list[int]:
        """Count those that lie within runs of this import; the others are returned.

        Files that aren't in the order of time have such.
        """
        outside, large = [], set()
        for measured_ms in instants:
            row = self._db.execute(
                "update import_runs set count = count + 1 where last_ms >= :ms and id = ("
                " select id from import_runs"
                " where sensor = :sensor and import = :number and first_ms <= :ms"
                " order by first_ms desc limit 1) returning id, count",
                {"ms": measured_ms, "sensor": sensor, "number": self.number},
            ).fetchone()
            if row is None:
                outside.append(measured_ms)
            elif row[1] > 2 * RUN_LIMIT:
                large.add(row[0])
        for number in sorted(large):
            self._split(sensor, number)
        return outside

    def _split(self, sensor: int, number: int) -> None:
        """Cut a run into several, unless others' readings are in it by now."""
        run = Run._make(
            self._db.execute(
                "select first_ms, last_ms, count from import_runs where id = ?", [number]
            ).fetchone()
        )
        rows = self._db.execute(
            f"select measured_ms {_WITHIN}", [sensor, run.first_ms, run.last_ms, run.readings + 1]
        )
        instants = [measured_ms for (measured_ms,) in rows.fetchall()]
        if len(instants) == run.readings:
            self._db.execute("delete from import_runs where id = ?", [number])
            for part in self._runs(sensor, instants):
                self._insert(sensor, part)

    def _runs(self, sensor: int, instants: list[int]) -> Iterator[Run]:
        for start in range(0, len(instants), RUN_LIMIT):
            yield from self._unbroken(sensor, instants[start : start + RUN_LIMIT])

    def _unbroken(self, sensor: int, instants: list[int]) -> Iterator[Run]:
        """One run, or several where other readings are among them."""
        run = Run(instants[0], instants[-1], len(instants))
        if self._is_alone(sensor, run):
            yield run
        else:
            middle = len(instants) // 2
            yield from self._unbroken(sensor, instants[:middle])
            yield from self._unbroken(sensor, instants[middle:])

    def _is_alone(self, sensor: int, run: Run) -> bool:
        """Whether the run's readings are all that the sensor has from its first to its last."""
        [count] = self._db.execute(
            f"select count(*) from (select 1 {_WITHIN})",
            [sensor, run.first_ms, run.last_ms, run.readings + 1],
        ).fetchone()
        return bool(count == run.readings)

    def _insert(self, sensor: int, run: Run) -> None:
        [number] = self._db.execute(
            "insert into import_runs (import, sensor, first_ms, last_ms, count)"
            " values (?, ?, ?, ?, ?) returning id",
            [self.number, sensor, *run],
        ).fetchone()
        self._remember(sensor, number, run)

    def _remember(self, sensor: int, number: int, run: Run) -> None:
        """A hint only: what is remembered is compared with the readings before it is used."""
        low, high = self._span.get(sensor, (run.first_ms, run.last_ms))
        self._newest[sensor] = number, run
        self._span[sensor] = min(low, run.first_ms), max(high, run.last_ms)
