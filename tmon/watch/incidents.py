"""Incidents: what was wrong from when to when. Events: what to notify about them."""

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import NamedTuple

from sqlite_utils import Database

from tmon.core.time import DAY_MS
from tmon.db.connect import transaction
from tmon.db.job_runs import JobRuns, save_job_runs
from tmon.watch import alert_text
from tmon.watch.findings import Finding, Key, Severity
from tmon.watch.mutes import Mutes

REMIND_AFTER_MS = DAY_MS
NO_REMINDERS = {"T13"}  # it lasts until another SQLite is installed


class Incident(NamedTuple):
    """An open incident: its finding as it was recorded last, and the time of its last event."""

    id: int
    finding: Finding
    last_event_ms: int | None  # None: muted since it began


def open_incidents(db: Database) -> dict[Key, Incident]:
    """All incidents that haven't ended."""
    rows = db.execute("""
        select incidents.id, (select max(at_ms) from events where incident = incidents.id),
            finding, severity, reason,
            coalesce(incidents.node, sensors.node), sensors.name, sensor, subject, from_ms
        from incidents left join sensors on sensors.id = incidents.sensor
        where to_ms is null
    """)
    found = [Incident(id_, Finding(*row), last_event_ms) for id_, last_event_ms, *row in rows]
    return {incident.finding.key: incident for incident in found}


def sensor_counts(db: Database) -> dict[str, int]:
    """How many sensors each node has."""
    return dict(db.execute("select node, count(*) from sensors group by node").fetchall())


def record(
    db: Database,
    findings: Iterable[Finding],
    now_ms: int,
    *,
    skipped: Collection[str] = (),
    jobs_done: JobRuns | None = None,
) -> None:
    """Open, update and end incidents, and write their events, in one transaction.

    Args:
        db: open for writing.
        findings: all that were found; those of one sensor in order of time.
        now_ms: the time of the check.
        skipped: numbers that were not checked; their incidents stay open.
        jobs_done: outcomes to remember.
    """
    with transaction(db):
        recorder = _Recorder(db, now_ms)
        for finding in findings:
            recorder.add(finding)
        recorder.end_unseen(skipped)
        recorder.write_events()
        save_job_runs(db, jobs_done or {})


class _Recorder:
    """Matches one check's findings with the open incidents, within one transaction."""

    def __init__(self, db: Database, now_ms: int) -> None:
        self._db = db
        self._now_ms = now_ms
        self._open = open_incidents(db)
        self._nodes = {row[0] for row in db.execute("select name from nodes")}
        self._mutes = Mutes(db, now_ms)
        self._seen: set[Key] = set()
        self._events: dict[str, dict[Finding, int]] = {"began": {}, "goes on": {}, "ended": {}}

    def add(self, finding: Finding) -> None:
        """Record a finding; that of a node renamed during the check waits for the next one."""
        node = finding.key.node
        if node is not None and node not in self._nodes:
            return
        incident = self._open.get(finding.key)
        if finding.until_ms is not None:
            self._add_ended(finding, finding.until_ms, incident)
        elif incident is not None:
            self._seen.add(finding.key)
            self._update(incident, finding)
        elif finding.meets_threshold:
            self._seen.add(finding.key)
            self._insert(finding)

    def end_unseen(self, skipped: Collection[str]) -> None:
        """End the incidents that were looked for and not found."""
        for key, incident in list(self._open.items()):
            if key not in self._seen and key.number not in skipped:
                self._end(incident, self._now_ms, incident.finding.reason)

    def write_events(self) -> None:
        """Write one event an incident; silent sensors of a node get the same text."""
        counts = sensor_counts(self._db)
        for what, incidents in self._events.items():
            for group in alert_text.group(incidents):
                text = alert_text.event_line(what, group, counts)
                self._db.conn.executemany(
                    "insert into events (at_ms, incident, what, message) values (?, ?, ?, ?)",
                    [(self._now_ms, incidents[finding], what, text) for finding in group],
                )

    def _add_ended(self, finding: Finding, until_ms: int, incident: Incident | None) -> None:
        if incident and (incident.finding.since_ms or 0) < until_ms:
            self._end(incident, until_ms, finding.reason)
            return
        # Incidents of one sensor and number must not overlap.
        newest = self._db.execute(
            "select to_ms from incidents where sensor = ? and finding = ? and from_ms < ?"
            " order by from_ms desc limit 1",
            [finding.sensor_id, finding.number, until_ms],
        ).fetchone()
        overlaps = newest and newest[0] is not None and newest[0] > finding.since_ms
        if finding.meets_threshold and not overlaps:
            self._insert(finding)

    def _insert(self, finding: Finding) -> None:
        since_ms = self._now_ms if finding.since_ms is None else finding.since_ms
        finding = replace(finding, since_ms=since_ms)
        number, node, sensor_id, subject = finding.key
        [id_] = self._db.execute(
            "insert into incidents (finding, severity, node, sensor, subject, reason, from_ms,"
            " to_ms) values (?, ?, ?, ?, ?, ?, ?, ?) returning id",
            [
                *(number, finding.severity, node, sensor_id, subject),
                *(finding.reason, since_ms, finding.until_ms),
            ],
        ).fetchone()
        self._notify(id_, "began", replace(finding, until_ms=None))
        if finding.until_ms is not None:
            self._notify(id_, "ended", finding)

    def _update(self, incident: Incident, found: Finding) -> None:
        """Write severity and reason if they are notified now, or if it became critical."""
        known = incident.finding
        worse = found.severity is Severity.CRITICAL != known.severity
        severity = found.severity if worse else known.severity
        finding = replace(known, severity=severity, reason=found.reason)
        what = None
        if incident.last_event_ms is None:
            what = "began"  # it was muted until now
        elif worse or (
            self._now_ms - incident.last_event_ms >= REMIND_AFTER_MS
            and known.number not in NO_REMINDERS
        ):
            what = "goes on"
        if worse or (what and self._mutes.until_ms(finding) is None):
            self._db.execute(
                "update incidents set severity = ?, reason = ? where id = ?",
                [finding.severity, finding.reason, incident.id],
            )
        if what:
            self._notify(incident.id, what, finding)

    def _end(self, incident: Incident, until_ms: int, reason: str) -> None:
        until_ms = max(until_ms, incident.finding.since_ms or 0)
        self._db.execute(
            "update incidents set to_ms = ?, reason = ? where id = ?",
            [until_ms, reason, incident.id],
        )
        del self._open[incident.finding.key]
        if incident.last_event_ms is not None:
            finding = replace(incident.finding, until_ms=until_ms, reason=reason)
            self._notify(incident.id, "ended", finding)

    def _notify(self, incident: int, what: str, finding: Finding) -> None:
        if self._mutes.until_ms(finding) is None:
            self._events[what][finding] = incident
