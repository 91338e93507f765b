"""Long jobs split into short transactions, with gaps in which other writers get the lock."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import NamedTuple, TypeVar

from sqlite_utils import Database

from tmon.db.connect import sqlite3, transaction

HOLD_S = 0.015  # how long a transaction should hold the lock; a live server bears 50 ms
SMOOTHING = 0.5  # a checkpoint now and then makes one commit look slow

# SQLite's busy handler retries after 1, 2, 5, 10, 15, 20 ms: steps no longer than the time it
# has waited. So a gap slightly longer than the last transaction lets every waiting writer in.
GAP_PER_HOLD = 1.2
GAP_AT_MOST_S = 0.025
PATIENCE_S = 60.0  # for a writer that holds the lock; other paced jobs leave gaps as this one does

T = TypeVar("T")


class ChunkSizes(NamedTuple):
    """How many rows a transaction covers: the first one, the smallest and the largest."""

    first: int
    least: int
    most: int


class ChunkPacer:
    """Runs a job's transactions one by one, each about 15 ms long however fast the disk is.

    ``size`` is how many rows the next transaction should cover.
    """

    def __init__(self, sizes: ChunkSizes, patience_s: float = PATIENCE_S) -> None:
        self.size = sizes.first
        self._sizes = sizes
        self._patience_s = patience_s
        self._began_s = self._ended_s = monotonic()

    @property
    def held_s(self) -> float:
        """How long the last transaction held the lock."""
        return self._ended_s - self._began_s

    def run(self, write: Callable[[], T]) -> T:
        """Leave a gap for other writers, then run one transaction; retry while it is locked.

        Raises:
            sqlite3.Error: it failed, or another writer held the lock for ``patience_s``.
        """
        gap_s = min(GAP_PER_HOLD * self.held_s, GAP_AT_MOST_S)
        sleep(max(0.0, self._ended_s + gap_s - monotonic()))
        give_up_s = monotonic() + self._patience_s
        while True:
            self._began_s = monotonic()
            try:
                result = write()
            except sqlite3.Error as error:
                if "locked" not in str(error) or monotonic() > give_up_s:
                    raise
            else:
                self._ended_s = monotonic()
                return result

    @contextmanager
    def transaction(self, db: Database) -> Iterator[None]:
        """A transaction whose wait for the lock isn't counted as its own time."""
        with transaction(db):
            self.lock_acquired()
            yield

    def lock_acquired(self) -> None:
        """Start measuring: the time before this was spent waiting for the lock."""
        self._began_s = monotonic()

    def record(self, size: int) -> None:
        """Adjust ``size``: the last transaction covered this many rows."""
        fitting = size * HOLD_S / max(self.held_s, 0.001)
        wanted = round(self.size + SMOOTHING * (min(fitting, 2 * size) - self.size))
        self.size = min(max(wanted, self._sizes.least), self._sizes.most)
