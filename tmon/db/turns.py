"""Work in many short transactions, with time for others between them."""

from collections.abc import Callable
from time import monotonic, sleep
from typing import TypeVar

from tmon.db.connect import sqlite3

HOLD_S = 0.015  # what a transaction is to take; a live server bears 50 ms
SMOOTHING = 0.5  # now and then a checkpoint makes one commit look slow

# SQLite's busy handler looks again after 1, 2, 5, 10, 15, 20 ms: steps no longer than it
# has waited. So a gap a little longer than the transaction before it lets every waiter in.
GAP_PER_HOLD = 1.2
GAP_AT_MOST_S = 0.025
PATIENCE_S = 60.0  # with who holds the lock; others that take turns leave gaps as we do

T = TypeVar("T")


class Turns:
    """Takes turns with who else writes to a database.

    A turn takes about 15 ms, however fast the disk is: ``size`` is how much to do in one.
    """

    def __init__(
        self, *, at_first: int, at_least: int, at_most: int, patience_s: float = PATIENCE_S
    ) -> None:
        self.size = at_first
        self._at_least, self._at_most = at_least, at_most
        self._patience_s = patience_s
        self._began_s = self._ended_s = monotonic()

    def take(self, write: Callable[[], T]) -> T:
        """Do one transaction, when it is our turn.

        Raises:
            sqlite3.Error: it can't be done, or somebody held the lock all the time.
        """
        gap_s = min(GAP_PER_HOLD * (self._ended_s - self._began_s), GAP_AT_MOST_S)
        sleep(max(0.0, self._ended_s + gap_s - monotonic()))
        result = self._patiently(write)
        self._ended_s = monotonic()
        return result

    def lock_taken(self) -> None:
        """Begin to count the turn's time: until now it waited for the lock."""
        self._began_s = monotonic()

    def did(self, size: int) -> None:
        """Fit ``size`` to how long the last turn took for what it did."""
        took_s = max(self._ended_s - self._began_s, 0.001)
        fitting = size * HOLD_S / took_s
        wanted = round(self.size + SMOOTHING * (min(fitting, 2 * size) - self.size))
        self.size = min(max(wanted, self._at_least), self._at_most)

    def _patiently(self, write: Callable[[], T]) -> T:
        give_up_s = monotonic() + self._patience_s
        while True:
            self._began_s = monotonic()
            try:
                return write()
            except sqlite3.Error as error:
                if "locked" not in str(error) or monotonic() > give_up_s:
                    raise
