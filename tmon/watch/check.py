"""All checks, one after the other: what one can't do hides nothing of the others."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from sqlite_utils import Database

from tmon.core.settings import Settings
from tmon.db import station
from tmon.db.connect import RefusedDatabase, sqlite3
from tmon.db.station import Chore, Station
from tmon.watch import jobs as chores
from tmon.watch.alert_text import Matter, Sensors, shown, together
from tmon.watch.checks import (
    backups,
    channels,
    clocks,
    integrity,
    pressure,
    published,
    rejections,
    secret,
    silence,
    storage,
)
from tmon.watch.checks import (
    out_of_limits as limits,
)
from tmon.watch.checks import (
    reachability as answers,
)
from tmon.watch.checks.reachability import Addresses
from tmon.watch.findings import CATALOGUE, Finding, Key, Severity, key
from tmon.watch.incidents import Incident, matter_of, open_incidents, sensors_by_node
from tmon.watch.mutes import Mutes

log = logging.getLogger("tmon.check")

# Of the open database: what each can find.
OF_STATION: tuple[tuple[tuple[str, ...], Callable[[Station], Iterator[Finding]]], ...] = (
    (("T01",), silence.check),
    (("T02", "T03"), limits.check),
    (("T06",), rejections.check),
    (("T07", "T20"), clocks.check),
    (("T19",), clocks.check_readings),
    (("T23",), pressure.check),
    (("T10",), backups.check),
    (("T11", "T12"), integrity.check),
    (("T15",), channels.check),
)
OF_MACHINE = ("T08", "T09", "T11", "T13", "T14", "T17")
OF_ANSWERS = ("T04", "T05", "T21")
OF_PAGES = ("T18",)
OF_SECRET = ("T22",)
OF_DATABASE = (*(number for numbers, _ in OF_STATION for number in numbers), *OF_SECRET, *OF_PAGES)
UNUSABLE = (sqlite3.Error, RefusedDatabase, OSError)


class Task(NamedTuple):
    """What to check: a whole station here, or only whether a distant one answers."""

    settings: Settings
    addresses: Addresses
    memory: Path  # the database that knows the incidents: the station's, or one of its own
    now_ms: int
    whole_file: bool = False  # do the chores that are due
    full: bool = False  # and those that are not
    pauses_s: tuple[float, ...] = answers.PAUSES_S


class Known(NamedTuple):
    """What the memory says of what is found."""

    incidents: Mapping[Key, Incident]
    mutes: Mutes | None
    sensors: Sensors


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
    _going_on: set[Key] = field(default_factory=set)

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
        """Take in what a check finds, and what keeps it from looking for the rest."""
        try:
            for finding in look():
                self.add(finding)
        except Exception as error:  # whatever it is: the other checks are made
            self.met(numbers, error)

    def met(self, numbers: Iterable[str], error: Exception) -> None:
        """Tell what kept ``numbers`` from being looked for; their incidents stay as they are."""
        self.blind.update(numbers)
        if isinstance(error, sqlite3.OperationalError | RefusedDatabase):
            self.add(unusable(str(error)))
        elif isinstance(error, sqlite3.DatabaseError):
            self.add(Finding("T11", Severity.CRITICAL, str(error), subject="database"))
        else:
            log.debug("a check failed", exc_info=error)
            titles = ", ".join(CATALOGUE[number].title for number in numbers) or "chores"
            self.unknown.append(f"can't check ({titles}): {type(error).__name__}: {error}")

    def add(self, finding: Finding) -> None:
        """Take in a finding, unless it goes on by another's word already."""
        if finding.until_ms is None:
            if key(finding) in self._going_on:
                return
            self._going_on.add(key(finding))
        self.findings.append(finding)

    def lines(self) -> list[str]:
        """What is current, a line each; silent sensors of a node that nobody muted share one."""
        mutes = {one.matter: one.muted_until_ms for one in self.current}
        groups = [
            group
            for muted in (False, True)
            for group in together(one for one in mutes if (mutes[one] is not None) is muted)
        ]
        return [shown(group, self.sensors, mutes[group[0]]) for group in groups]


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
    report.attempt(OF_ANSWERS, lambda: answers.check(task.addresses, task.now_ms, task.pauses_s))
    known = Known({}, None, {})
    if not task.addresses.remote:
        report.attempt(OF_MACHINE, lambda: storage.check(task.settings))
    if not task.addresses.remote or task.memory.exists():
        try:
            with station.opened(task.memory, task.now_ms) as db:
                if not task.addresses.remote:
                    _look_at_station(task, db, report, say)
                known = Known(open_incidents(db), Mutes(db, task.now_ms), sensors_by_node(db))
        except UNUSABLE as error:
            report.met(OF_DATABASE, error)
    report.sensors = known.sensors
    report.current = [*_current(report.findings, known, task.now_ms)]


def _look_at_station(task: Task, db: Database, report: Report, say: Callable[[str], None]) -> None:
    remembered = station.chores(db)
    if task.whole_file:
        report.attempt((), lambda: _do_chores(task, db, report, say))
    now = Station(db, task.settings, task.now_ms, {**remembered, **report.done})
    for numbers, check in OF_STATION:
        report.attempt(numbers, partial(check, now))
    report.attempt(OF_SECRET, lambda: secret.check(now, task.addresses))
    if any(finding.number == "T05" for finding in report.findings):
        report.blind.update(OF_PAGES)
    else:
        report.attempt(OF_PAGES, lambda: published.check(now, task.addresses))


def _do_chores(
    task: Task, db: Database, report: Report, say: Callable[[str], None]
) -> Iterator[Finding]:
    """Their outcomes are findings later, by the check that remembers them."""
    due = chores.due(db, station.chores(db), task.now_ms, say, full=task.full)
    report.done.update(due)
    yield from ()


def _current(findings: Iterable[Finding], known: Known, now_ms: int) -> Iterator[Current]:
    for finding in findings:
        incident = known.incidents.get(key(finding))
        if finding.until_ms is None and (finding.enough or incident):
            matter = matter_of(finding, incident.matter.from_ms if incident else now_ms)
            of_it = finding.number, finding.node, finding.sensor_id
            yield Current(matter, known.mutes.until_ms(*of_it) if known.mutes else None)
