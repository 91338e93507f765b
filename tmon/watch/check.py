"""Run all checks; one that fails hides nothing of the others."""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

from sqlite_utils import Database

from tmon.core.errors import TmonError
from tmon.core.settings import Settings
from tmon.db.connect import RefusedDatabase, sqlite3
from tmon.db.job_runs import JobRun, load_job_runs
from tmon.watch import alert_text, jobs
from tmon.watch.alert_text import SensorCounts
from tmon.watch.checks import (
    backups,
    channels,
    clocks,
    equal_files,
    integrity,
    out_of_limits,
    pressure,
    published,
    reachability,
    rejections,
    secret,
    silence,
    storage,
    streams,
)
from tmon.watch.checks.reachability import Addresses
from tmon.watch.findings import CATALOGUE, Finding, Key, Severity
from tmon.watch.incidents import Incident, open_incidents, sensor_counts
from tmon.watch.mutes import Mutes
from tmon.watch.station import Station, open_at

log = logging.getLogger("tmon.check")

# The checks of the open database, each with the numbers that it can find.
STATION_CHECKS: tuple[tuple[tuple[str, ...], Callable[[Station], Iterator[Finding]]], ...] = (
    (("T01",), silence.check),
    (("T02", "T03"), out_of_limits.check),
    (("T06",), rejections.check),
    (("T07", "T20"), clocks.check),
    (("T19",), clocks.check_readings),
    (("T23",), pressure.check),
    (("T10",), backups.check),
    (("T11", "T12"), integrity.check),
    (("T15",), channels.check),
    (("T24", "T25", "T26", "T27", "T28"), streams.check),
    (("T29",), equal_files.check),
)
MACHINE = ("T08", "T09", "T11", "T13", "T14", "T17")
REACHABILITY = ("T04", "T05", "T21")
PAGES = ("T18",)
SECRET = ("T22",)
DATABASE = (*(number for numbers, _ in STATION_CHECKS for number in numbers), *SECRET, *PAGES)
UNUSABLE = (sqlite3.Error, RefusedDatabase, OSError)


class CheckOptions(NamedTuple):
    """What to check: a whole station here, or only whether a remote one answers."""

    settings: Settings  # for a remote station, `db` is the database of its incidents
    addresses: Addresses
    now_ms: int
    run_jobs: bool = False  # do the jobs that are due
    all_jobs: bool = False  # do all jobs, due or not
    retry_pauses_s: tuple[float, ...] = reachability.PAUSES_S


@dataclass
class Report:
    """The results of one run of all checks."""

    findings: list[Finding] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)  # a sentence for each check that failed
    skipped: set[str] = field(default_factory=set)  # the numbers those could have found
    jobs_done: dict[str, JobRun] = field(default_factory=dict)
    active: list[Finding] = field(default_factory=list)  # findings to show, with their mutes
    sensor_counts: SensorCounts = field(default_factory=dict)
    devices_waiting: int = 0  # of gateways, for the owner to adopt or ignore
    failures: list[str] = field(default_factory=list)  # a line each: not checked, or not notified
    _seen: set[Key] = field(default_factory=set)

    @property
    def status(self) -> int:
        """Exit status of a monitoring plugin: 0 ok, 1 warning, 2 critical, 3 unknown."""
        severities = {one.severity for one in self.active if one.muted_until_ms is None}
        if Severity.CRITICAL in severities:
            return 2
        if self.unknown:
            return 3
        return 1 if severities else 0

    def run(self, numbers: Iterable[str], check: Callable[[], Iterable[Finding]]) -> None:
        """Run a check that can find ``numbers``, and keep what it finds until it ends or fails."""
        try:
            for finding in check():
                self.add(finding)
        except Exception as error:  # whatever it is, the other checks still run
            self.add_failure(numbers, error)

    def add_failure(self, numbers: Iterable[str], error: Exception) -> None:
        """Note that a check failed; incidents of its ``numbers`` stay as they are."""
        self.skipped.update(numbers)
        if isinstance(error, sqlite3.OperationalError | RefusedDatabase):
            self.add(unusable(str(error)))
        elif isinstance(error, sqlite3.DatabaseError):
            self.add(Finding("T11", Severity.CRITICAL, str(error), subject="database"))
        else:
            log.debug("a check failed", exc_info=error)
            titles = ", ".join(CATALOGUE[number].title for number in numbers) or "jobs"
            kind = "" if isinstance(error, TmonError) else f"{type(error).__name__}: "
            self.unknown.append(f"can't check ({titles}): {kind}{error}")

    def add(self, finding: Finding) -> None:
        """Add a finding; of two with the same key that both last, the first."""
        if finding.until_ms is None:
            if finding.key in self._seen:
                return
            self._seen.add(finding.key)
        self.findings.append(finding)

    def lines(self) -> list[str]:
        """One line for each active finding or group of them, the muted ones last."""
        groups = [
            group
            for muted in (False, True)
            for group in alert_text.group(
                one for one in self.active if (one.muted_until_ms is not None) is muted
            )
        ]
        return [alert_text.check_line(group, self.sensor_counts) for group in groups]


def unusable(reason: str) -> Finding:
    """T16."""
    return Finding("T16", Severity.CRITICAL, reason, subject="database")


def run_checks(options: CheckOptions, report: Report, progress: Callable[[str], None]) -> None:
    """Run all checks into ``report``, and list its active findings. Nothing is written.

    Args:
        options: what to check.
        report: may have findings already.
        progress: called with a short text before each job that takes long.
    """
    addresses, now_ms = options.addresses, options.now_ms
    report.run(REACHABILITY, lambda: reachability.check(addresses, now_ms, options.retry_pauses_s))
    incidents: dict[Key, Incident] = {}
    mutes = None
    if not addresses.remote:
        report.run(MACHINE, lambda: storage.check(options.settings))
    if not addresses.remote or options.settings.db.exists():
        try:
            with open_at(options.settings.db, now_ms) as db:
                if not addresses.remote:
                    _check_station(options, db, report, progress)
                found = open_incidents(db), Mutes(db, now_ms), sensor_counts(db)
                incidents, mutes, report.sensor_counts = found
                waiting = db.execute("select total(devices_waiting) from keys").fetchone()[0]
                report.devices_waiting = int(waiting)
        except UNUSABLE as error:
            report.add_failure(DATABASE, error)
    for finding in report.findings:
        incident = incidents.get(finding.key)
        if finding.until_ms is None and (finding.meets_threshold or incident):
            since_ms = finding.since_ms
            if since_ms is None:
                since_ms = incident.finding.since_ms if incident else now_ms
            muted_until_ms = mutes.until_ms(finding) if mutes else None
            report.active.append(replace(finding, since_ms=since_ms, muted_until_ms=muted_until_ms))


def _check_station(
    options: CheckOptions, db: Database, report: Report, progress: Callable[[str], None]
) -> None:
    last_done = load_job_runs(db)
    if options.run_jobs:
        # A job's outcome becomes a finding by the check `integrity`, here and in later runs.
        try:
            for name, done in jobs.run_due(
                db, last_done, options.now_ms, progress, run_all=options.all_jobs
            ):
                report.jobs_done[name] = done
        except Exception as error:  # the checks still run
            report.add_failure((), error)
    now = Station(db, options.settings, options.now_ms, {**last_done, **report.jobs_done})
    for numbers, check in STATION_CHECKS:
        report.run(numbers, partial(check, now))
    report.run(SECRET, lambda: secret.check(now, options.addresses))
    if any(finding.number == "T05" for finding in report.findings):
        report.skipped.update(PAGES)
    else:
        report.run(PAGES, lambda: published.check(now, options.addresses))
