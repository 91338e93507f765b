"""What became of each reading of a file, counted by kind, with examples."""

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TextIO

from ingest.reading import Receipt, Refusal

EXAMPLES = 3  # of each kind


class Rejects:
    """Writes each refused row to a CSV file: its line, why, of which sensor, and its cells."""

    def __init__(self, to: TextIO, file: str) -> None:
        self._writer = csv.writer(to)
        self._file = file

    @staticmethod
    def begin(to: TextIO) -> None:
        """Write the header."""
        csv.writer(to).writerow(["file", "line", "code", "sensor", "reason", "cells"])

    def write(self, line: int, code: str, sensor: str, reason: str, row: Sequence[str]) -> None:
        """Write one row; what the store refused comes without its cells."""
        self._writer.writerow([self._file, line, code, sensor, reason, *row])


class Tally:
    """What became of each reading of a file."""

    def __init__(self, rejects: Rejects | None = None) -> None:
        self.stored = 0
        self.already_there = 0
        self.rejected: Counter[tuple[str, str]] = Counter()  # by code and sensor
        self.refused_by_store = 0
        self._rejects = rejects
        self._examples: dict[tuple[str, str], list[str]] = {}

    @property
    def is_good(self) -> bool:
        """Whether something was stored, or all that could be was there already."""
        return self.stored > 0 or (self.already_there > 0 and not self.refused_by_store)

    @property
    def conflicts(self) -> int:
        """How many have another value than the one that is stored for their time."""
        return sum(count for (code, _), count in self.rejected.items() if code == "conflict")

    def reject(
        self, line: int, refusal: Refusal, sensor: str, readings: int, row: Sequence[str]
    ) -> None:
        """Count what was refused in one line of the file."""
        self._reject((refusal.code, sensor), line, refusal.reason, readings)
        if self._rejects:
            self._rejects.write(line, refusal.code, sensor, refusal.reason, row)

    def add(self, receipt: Receipt) -> None:
        """Count what the store says; its indices are the file's line numbers."""
        self.stored += receipt.accepted
        self.already_there += receipt.duplicates
        self.refused_by_store += len(receipt.rejected)
        for told in receipt.rejected:
            sensor = told.sensor or ""
            self._reject((told.code, sensor), told.index, told.error, 1)
            if self._rejects:
                self._rejects.write(told.index, told.code, sensor, told.error, ())

    def lines(self) -> Iterator[str]:
        """The summary for people."""
        yield f"stored         {self.stored:>11,}"
        yield f"already there  {self.already_there:>11,}"
        yield f"rejected       {self.rejected.total():>11,}"
        yield from self.kinds()

    def kinds(self) -> Iterator[str]:
        """Each kind of refusal, how many there are, and the first of them."""
        for kind, readings in self.rejected.most_common():
            first, *more = self._examples[kind]
            yield f"  {' '.join(kind).strip()}: {readings:,}, such as {first}"
            yield from (f"    {example}" for example in more)

    def _reject(self, kind: tuple[str, str], line: int, reason: str, readings: int) -> None:
        self.rejected[kind] += readings
        examples = self._examples.setdefault(kind, [])
        if len(examples) < EXAMPLES:
            examples.append(f"line {line}: {reason}")
