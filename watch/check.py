"""All checks, one after the other: what one can't do hides nothing of the others."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from sqlite_utils import Database

from ingest.schema import RefusedDatabase, sqlite3
from ingest.settings import Settings
from watch import chores, station
from watch.checks import (
    answers,
    backups,
    channels,
    clocks,
    integrity,
    limits,
    rejections,
    silence,
    storage,
)
from watch.checks.answers import Addresses
from watch.findings import CATALOGUE, Finding, Severity, key
from watch.incidents import open_incidents, sensors_by_node
from watch.lines import Matter, Sensors
from watch.mutes import Mutes
from watch.station import Chore, Station

log = logging.getLogger("tmon.check")

# Of the open database: what each can find.
OF_STATION: tuple[tuple[tuple[str, ...], Callable[[Station], Iterator[Finding]]], ...] = (
    (("T01",), silence.check),
    (("T02", "T03"), limits.check),
    (("T06",), rejections.check),
    (("T07",), clocks.check),
    (("T10",), backups.check),
    (("T11", "T12"), integrity.check),
    (("T15",), channels.check),
)
OF_MACHINE = ("T08", "T09", "T13", "T14")
OF_ANSWERS = ("T04", "T05")


class Task(NamedTuple):
    """What to check: a whole station here, or only whether a distant one answers."""

    settings: Settings
    addresses: Addresses
    memory: Path  # the database that knows the incidents: the station's, or one of its own
    now_ms: int
    whole_file: bool = False  # do the chores that are due
    full: bool = False  # and those that are not
    pauses_s: tuple[float, ...] = answers.PAUSES_S


class Current(NamedTuple):
    """Something that is wrong now, and until when nobody wants to hear of it."""

    matter: Matter
    muted_until_ms: int | None


@dataclass
class Report:
    """What came of a round."""

    findings: list[Finding] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)  # sentences: which checks couldn't be made
    blind: set[str] = field(default_factory=set)  # the numbers that those would find
    done: dict[str, Chore] = field(default_factory=dict)
    current: list[Current] = field(default_factory=list)
    sensors: Sensors = field(default_factory=dict)

    @property
    def status(self) -> int:
        """0 ok, 1 warning, 2 critical, 3 unknown: the monitoring plugins' exit status."""
        severities = {one.matter.severity for one in self.current if one.muted_until_ms is None}
        if Severity.CRITICAL in severities:
            return 2
        if self.unknown:
            return 3
        return 1 if severities else 0

    def attempt(self, numbers: Iterable[str], look: Callable[[], Iterable[Finding]]) -> None:
        """Take in what a check finds, and what keeps it from looking."""
        try:
            for finding in look():
                self.findings.append(finding)
        except (sqlite3.OperationalError, RefusedDatabase) as error:
            self._cant(numbers, unusable(str(error)))
        except sqlite3.DatabaseError as error:
            self._cant(
                numbers, Finding("T11", Severity.CRITICAL, str(error), subject="database")
            )
        except Exception as error:
            log.debug("a check failed", exc_info=True)
            titles = ", ".join(CATALOGUE[number].title for number in numbers)
            self.unknown.append(f"can't check for: {titles} ({type(error).__name__}: {error})")
            self.blind.update(numbers)

    def _cant(self, numbers: Iterable[str], finding: Finding) -> None:
        self.blind.update(numbers)
        self.add(finding)

    def add(self, finding: Finding) -> None:
        """One that may have been found already."""
        if key(finding) not in map(key, self.findings):
            self.findings.append(finding)


def unusable(reason: str) -> Finding:
    """T16."""
    return Finding("T16", Severity.CRITICAL, reason, subject="database")


def look(task: Task, report: Report, say: Callable[[str], None]) -> None:
    """Make all checks into ``report``, and see what of it is current; nothing is written.

    Args:
        task: what to check.
        report: may hold findings already.
        say: told before what takes long.
    """
    report.attempt(
        OF_ANSWERS, lambda: answers.check(task.addresses, task.now_ms, task.pauses_s)
    )
    if not task.addresses.remote:
        report.attempt(OF_MACHINE, lambda: storage.check(task.settings))
    with suppress(_NoMemory), _memory(task, report) as db:
        if not task.addresses.remote:
            _look_at_station(task, db, report, say)
        report.attempt((), lambda: _settle(report, db, task.now_ms))
        return
    report.current = [*_current(report.findings, {}, None, task.now_ms)]
