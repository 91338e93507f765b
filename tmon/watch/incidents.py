"""Incidents: what was wrong from when to when; and events: what is told of them."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from sqlite_utils import Database

from tmon.core.time import DAY_MS
from tmon.db.connect import transaction
from tmon.db.station import Chores, remember
from tmon.watch import lines
from tmon.watch.findings import Finding, Key, Severity, key
from tmon.watch.lines import Matter
from tmon.watch.mutes import Mutes

REMINDED_AFTER_MS = DAY_MS
NOT_REMINDED = {"T13"}  # it stays until another SQLite is there


class Incident(NamedTuple):
    """One that is open: what it is about, and when somebody was told of it last."""

    id: int
    key: Key
    matter: Matter
    told_ms: int | None


class Event(NamedTuple):
    """Something to tell: what of which incident."""

    incident: int
    what: str
    matter: Matter


def open_incidents(db: Database) -> dict[Key, Incident]:
    """All that go on."""
    rows = db.execute("""
        select incidents.id, finding, incidents.node, sensor, subject, severity,
            coalesce(incidents.node, sensors.node), sensors.name, reason, from_ms,
            (select max(at_ms) from events where incident = incidents.id)
        from incidents left join sensors on sensors.id = incidents.sensor
        where to_ms is null
    """)
    return {one.key: one for one in map(_incident, rows)}


def sensors_by_node(db: Database) -> dict[str, int]:
    """How many sensors each node has."""
    return dict(db.execute("select node, count(*) from sensors group by node").fetchall())


def record(
    db: Database,
    findings: Iterable[Finding],
    now_ms: int,
    *,
    blind: Collection[str] = (),
    done: Chores | None = None,
) -> None:
    """Begin, go on with and end incidents, with their events, in one transaction.

    Args:
        db: open for writing.
        findings: all that were found; one sensor's in the order of time.
        now_ms: when.
        blind: numbers that weren't looked for, so that their absence says nothing.
        done: chores to remember.
    """
    with transaction(db):
        book = _Book(db, now_ms)
        for finding in findings:
            book.enter(finding)
        book.end_others(blind)
        book.write_events()
        remember(db, done or {})


class _Book:
    """Owns the incidents within one transaction."""

    def __init__(self, db: Database, now_ms: int) -> None:
        self._db = db
        self._now_ms = now_ms
        self._open = open_incidents(db)
        self._nodes = {row[0] for row in db.execute("select name from nodes")}
        self._mutes = Mutes(db, now_ms)
        self._going_on: set[Key] = set()
        self._events: list[Event] = []

    def enter(self, finding: Finding) -> None:
        """Match a finding with what is known; one of a node renamed meanwhile waits."""
        of_node = key(finding).node
        if of_node is not None and of_node not in self._nodes:
            return
        if finding.until_ms is not None:
            self._enter_over(finding, finding.until_ms)
        else:
            self._enter_going_on(finding)

    def end_others(self, blind: Collection[str]) -> None:
        """End what was not found any more."""
        for one in list(self._open.values()):
            if one.key not in self._going_on and one.key.number not in blind:
                self._end(one, self._now_ms, one.matter.reason)

    def write_events(self) -> None:
        """Sensors of a node that fell silent together share the line."""
        sensors = sensors_by_node(self._db)
        for what in ("began", "goes on", "ended"):
            chosen = [event for event in self._events if event.what == what]
            incidents = {event.matter: event.incident for event in chosen}
            for group in lines.together(incidents):
                told = lines.told(what, group, sensors)
                self._db.conn.executemany(
                    "insert into events (at_ms, incident, what, told) values (?, ?, ?, ?)",
                    [(self._now_ms, incidents[matter], what, told) for matter in group],
                )

    def _enter_going_on(self, finding: Finding) -> None:
        known = self._open.get(key(finding))
        if known is None and not finding.enough:
            return
        self._going_on.add(key(finding))
        if known is None:
            matter = matter_of(finding, self._now_ms)
            self._tell(self._insert(finding, matter), "began", finding, matter)
        else:
            self._go_on(known, finding)

    def _enter_over(self, finding: Finding, until_ms: int) -> None:
        known = self._open.get(key(finding))
        if known and known.matter.from_ms < until_ms:
            self._end(known, until_ms, finding.reason)
        elif finding.enough and not self._is_known(finding):
            matter = matter_of(finding, self._now_ms)
            incident = self._insert(finding, matter)
            self._tell(incident, "began", finding, matter._replace(to_ms=None))
            self._tell(incident, "ended", finding, matter)

    def _is_known(self, finding: Finding) -> bool:
        """Whether an incident overlaps: those of one sensor don't overlap each other."""
        row = self._db.execute(
            "select to_ms from incidents where sensor = ? and finding = ? and from_ms < ?"
            " order by from_ms desc limit 1",
            [finding.sensor_id, finding.number, finding.until_ms],
        ).fetchone()
        return row is not None and row[0] is not None and row[0] > finding.since_ms

    def _go_on(self, known: Incident, finding: Finding) -> None:
        worse = finding.severity is Severity.CRITICAL != known.matter.severity
        severity = finding.severity if worse else known.matter.severity
        matter = known.matter._replace(severity=severity, reason=finding.reason)
        what = self._what_to_tell(known, worse=worse)
        if worse or (what and not self._is_muted(finding.number, matter.node, finding.sensor_id)):
            self._db.execute(
                "update incidents set severity = ?, reason = ? where id = ?",
                [matter.severity, matter.reason, known.id],
            )
        if what:
            self._tell(known.id, what, finding, matter)

    def _what_to_tell(self, known: Incident, *, worse: bool) -> str | None:
        if known.told_ms is None:
            return "began"  # muted until now
        late = self._now_ms - known.told_ms >= REMINDED_AFTER_MS
        if worse or (late and known.key.number not in NOT_REMINDED):
            return "goes on"
        return None

    def _end(self, known: Incident, to_ms: int, reason: str) -> None:
        to_ms = max(to_ms, known.matter.from_ms)
        self._db.execute(
            "update incidents set to_ms = ?, reason = ? where id = ?", [to_ms, reason, known.id]
        )
        del self._open[known.key]
        matter = known.matter._replace(to_ms=to_ms, reason=reason)
        of_it = known.key.number, matter.node, known.key.sensor_id
        if known.told_ms is not None and not self._is_muted(*of_it):
            self._events.append(Event(known.id, "ended", matter))

    def _insert(self, finding: Finding, matter: Matter) -> int:
        number, node, sensor, subject = key(finding)
        [id_] = self._db.execute(
            "insert into incidents (finding, severity, node, sensor, subject, reason, from_ms,"
            " to_ms) values (?, ?, ?, ?, ?, ?, ?, ?) returning id",
            [number, finding.severity, node, sensor, subject, *matter[5:]],
        ).fetchone()
        return int(id_)

    def _tell(self, incident: int, what: str, finding: Finding, matter: Matter) -> None:
        if not self._is_muted(finding.number, finding.node, finding.sensor_id):
            self._events.append(Event(incident, what, matter))

    def _is_muted(self, number: str, node: str | None, sensor: int | None) -> bool:
        return self._mutes.until_ms(number, node, sensor) is not None


def _incident(row: tuple) -> Incident:  # type: ignore[type-arg]
    id_, number, own_node, sensor_id, subject, severity, node, sensor, reason, from_ms, told = row
    matter = Matter(number, severity, node, sensor, subject, reason, from_ms)
    return Incident(id_, Key(number, own_node, sensor_id, subject), matter, told)


def matter_of(finding: Finding, since_ms: int) -> Matter:
    """What a line about a finding says; ``since_ms``: since when, where it can't tell."""
    return Matter(
        finding.number,
        finding.severity,
        finding.node,
        finding.sensor,
        finding.subject,
        finding.reason,
        since_ms if finding.since_ms is None else finding.since_ms,
        finding.until_ms,
    )
