"""What doesn't work at the moment, logged once for all partitions."""

import logging


class Trouble:
    """Logs when the first partition has trouble, and when the last one has none any more."""

    def __init__(self, log: logging.Logger, begin: str, end: str) -> None:
        self._log = log
        self._begin = begin
        self._end = end
        self._partitions: set[int] = set()

    def begin(self, partition: int, reason: str) -> None:
        """A partition doesn't work, or still doesn't."""
        if not self._partitions:
            self._log.error("%s: %s", self._begin, reason)
        self._partitions.add(partition)

    def end(self, partition: int) -> None:
        """A partition works."""
        if partition in self._partitions:
            self._partitions.remove(partition)
            if not self._partitions:
                self._log.warning("%s", self._end)
