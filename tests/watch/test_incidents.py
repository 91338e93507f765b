"""Incidents and events: transactions, mutes, severity, and skipped checks."""

import threading
from collections.abc import Iterable

import pytest

from tests.watch.watched import DAY_MS, HOUR_MS, NOW_MS, Watched
from tmon.db.connect import open_database, sqlite3
from tmon.watch import incidents
from tmon.watch.findings import Finding, Severity

DISK = Finding("T08", Severity.WARNING, "4.2 GiB free", subject="disk")


def record(watched: Watched, findings: Iterable[Finding], now_ms: int = NOW_MS) -> list[str]:
    [last] = watched.db.execute("select coalesce(max(id), 0) from events").fetchone()
    incidents.record(watched.db, findings, now_ms)
    rows = watched.db.execute("select what from events where id > ? order by id", [last])
    return [what for (what,) in rows]


def worse(finding: Finding) -> Finding:
    return Finding("T08", Severity.CRITICAL, "90 MiB free", subject=finding.subject)


def below_threshold(finding: Finding) -> Finding:
    return Finding("T08", finding.severity, "5.5 GiB free", subject="disk", meets_threshold=False)


def test_below_its_threshold_a_finding_opens_no_incident_but_keeps_one_open(
    watched: Watched,
) -> None:
    assert record(watched, [below_threshold(DISK)]) == []
    assert record(watched, [DISK]) == ["began"]
    assert record(watched, [below_threshold(DISK)]) == []
    assert record(watched, []) == ["ended"]
    assert record(watched, [below_threshold(DISK)]) == []


def test_a_warning_that_becomes_critical_is_an_event_at_once_and_once(watched: Watched) -> None:
    assert record(watched, [DISK]) == ["began"]
    assert record(watched, [worse(DISK)], NOW_MS + HOUR_MS) == ["goes on"]
    assert record(watched, [DISK], NOW_MS + 2 * HOUR_MS) == []
    assert record(watched, [worse(DISK)], NOW_MS + 3 * HOUR_MS) == []
    rows = watched.db.execute("select severity, reason from incidents").fetchall()
    assert rows == [("critical", "90 MiB free")]


def test_t13_has_no_reminders(watched: Watched) -> None:
    old = Finding("T13", Severity.WARNING, "3.40.1", subject="SQLite")
    assert record(watched, [old]) == ["began"]
    assert record(watched, [old], NOW_MS + 9 * DAY_MS) == []


def test_incidents_of_skipped_checks_stay_open(watched: Watched) -> None:
    record(watched, [DISK])
    incidents.record(watched.db, [], NOW_MS, skipped=["T08"])
    assert watched.incidents() == [("T08", NOW_MS, None)]


def test_a_clock_that_went_back_ends_nothing_before_it_began(watched: Watched) -> None:
    record(watched, [DISK])
    assert record(watched, [], NOW_MS - DAY_MS) == ["ended"]
    assert watched.incidents() == [("T08", NOW_MS, NOW_MS)]


def test_a_finding_of_a_node_that_was_renamed_meanwhile_waits(watched: Watched) -> None:
    gone = Finding("T07", Severity.WARNING, "clock", "a name it had")
    assert record(watched, [gone, DISK]) == ["began"]
    assert [number for number, *_ in watched.incidents()] == ["T08"]


def test_two_checks_at_once_write_one_event(watched: Watched) -> None:
    def check() -> None:
        with open_database(watched.path) as db:
            incidents.record(db, [DISK], NOW_MS)

    threads = [threading.Thread(target=check) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(watched.incidents()) == 1
    assert watched.db.execute("select what from events").fetchall() == [("began",)]


def test_what_fails_half_way_leaves_nothing(watched: Watched) -> None:
    bad = Finding("T07", Severity.WARNING, "clock", sensor="none", sensor_id=99)
    with pytest.raises(sqlite3.IntegrityError):
        record(watched, [DISK, bad])
    assert watched.incidents() == []


def test_what_lasts_when_its_mute_ends_is_an_event_then(watched: Watched) -> None:
    watched.node("basement")
    watched.every_minute(watched.sensor("basement"), 1.0, 1.0)
    watched.node("attic")
    attic = watched.sensor("attic")
    watched.every_minute(attic, 1.0, 1.0)
    watched.mute("basement", NOW_MS + 5 * HOUR_MS)
    watched.mute("attic/temperature", NOW_MS + 5 * HOUR_MS)
    assert watched.run(NOW_MS + HOUR_MS) == []
    report = watched.check(NOW_MS + HOUR_MS)
    assert report.status == 0
    [one, other] = report.lines()
    assert "T01 warning, muted until 2026-11-22 17:00 UTC: attic/temperature: silent" in one
    assert "basement" in other
    watched.measure(attic, [(NOW_MS + 3 * HOUR_MS, 1.0)])
    assert watched.run(NOW_MS + 3 * HOUR_MS) == []
    watched.measure(attic, [(NOW_MS + 5 * HOUR_MS, 1.0)])
    told = watched.run(NOW_MS + 5 * HOUR_MS)
    assert told == [("began", "basement/temperature: silent, since 2026-11-22 12:00 UTC")]
    assert watched.check(NOW_MS + 5 * HOUR_MS).status == 1


def test_a_muted_number_is_muted_for_all(watched: Watched) -> None:
    watched.mute("T08", NOW_MS + HOUR_MS)
    other = Finding("T09", Severity.WARNING, "300 MiB", subject="write-ahead log")
    assert record(watched, [DISK, other]) == ["began"]
    assert record(watched, [other], NOW_MS + 2 * HOUR_MS) == []
    watched.db.execute("delete from mutes")
    assert record(watched, [DISK, other], NOW_MS + 2 * HOUR_MS) == ["began"]


def test_thousands_of_sensors_that_fall_silent_at_once_are_recorded_in_a_moment(
    watched: Watched,
) -> None:
    watched.node("hub")
    watched.db.conn.executemany(
        "insert into sensors (id, node, name) values (?, 'hub', ?)",
        [(number, f"s{number}") for number in range(1, 2001)],
    )
    silent = [
        Finding("T01", Severity.WARNING, "silent", "hub", f"s{n}", n, since_ms=NOW_MS)
        for n in range(1, 2001)
    ]
    assert len(record(watched, silent)) == 2000
    [(message,)] = watched.db.execute("select distinct message from events").fetchall()
    assert message == "hub: all 2000 sensors silent, since 2026-11-22 12:00 UTC"
