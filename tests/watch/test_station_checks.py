"""T06, T07, T10 to T12 and T15: each begins, and ends."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.watch.watched import DAY_MS, HOUR_MS, MINUTE_MS, NOW_MS, NOWHERE, SECOND_MS, Watched
from tmon.db.connect import open_database
from tmon.store.hours import close_hours
from tmon.watch import check
from tmon.watch.check import Report
from tmon.watch.findings import Finding, Severity


def reject(watched: Watched, count: int, at_ms: int, code: str = "conflict") -> None:
    watched.db.conn.executemany(
        "insert into rejected (received_ms, node, code, reason) values (?, 'attic', ?, 'bad')",
        [(at_ms, code)] * count,
    )


def numbers(told: list[tuple[str, str]]) -> list[str]:
    return [what for what, _ in told]


def test_a_surge_of_rejections_is_found_by_its_reason(watched: Watched) -> None:
    reject(watched, 24, NOW_MS - 5 * HOUR_MS)
    reject(watched, 19, NOW_MS - MINUTE_MS)
    reject(watched, 19, NOW_MS - MINUTE_MS, "implausible_value")
    assert watched.found(NOW_MS, "T06") == []
    reject(watched, 1, NOW_MS - MINUTE_MS)
    [line] = watched.found(NOW_MS, "T06")
    assert line.startswith(
        "T06 warning: conflict: 20 readings rejected in an hour, usually 1.0;"
        " for example from attic: bad, since 2026-11-22 11:59 UTC"
    )


def test_a_few_more_than_usual_are_no_surge(watched: Watched) -> None:
    for hour in range(2, 25):
        reject(watched, 30, NOW_MS - hour * HOUR_MS)
    reject(watched, 140, NOW_MS - MINUTE_MS)
    assert watched.found(NOW_MS, "T06") == []
    reject(watched, 10, NOW_MS - MINUTE_MS)
    assert len(watched.found(NOW_MS, "T06")) == 1


def test_a_surge_lasts_until_there_are_less_than_half_of_what_began_it(watched: Watched) -> None:
    reject(watched, 20, NOW_MS - MINUTE_MS)
    assert numbers(watched.run(NOW_MS)) == ["began"]
    for hour in range(1, 20):
        reject(watched, 10, NOW_MS + hour * HOUR_MS - MINUTE_MS)
        assert watched.run(NOW_MS + hour * HOUR_MS) == []
    reject(watched, 9, NOW_MS + 20 * HOUR_MS - MINUTE_MS)
    assert numbers(watched.run(NOW_MS + 20 * HOUR_MS)) == ["ended"]


def test_a_nodes_clock_that_is_off_is_found_until_it_is_nearly_right(watched: Watched) -> None:
    watched.node("basement", clock_skew_s=45.0)
    watched.node("revoked", clock_skew_s=-900.0, revoked_ms=1)
    watched.node("gone", clock_skew_s=-900.0, last_received_ms=NOW_MS - 2 * DAY_MS)
    assert watched.run(NOW_MS) == []
    watched.db.execute("update nodes set clock_skew_s = -75 where name = 'basement'")
    assert watched.run(NOW_MS) == [
        ("began", "basement: clock 1 min 15 s behind, since 2026-11-22 12:00 UTC")
    ]
    watched.db.execute("update nodes set clock_skew_s = 35 where name = 'basement'")
    assert watched.run(NOW_MS + HOUR_MS) == []
    assert len(watched.found(NOW_MS + HOUR_MS, "T07")) == 1
    watched.db.execute("update nodes set clock_skew_s = 29 where name = 'basement'")
    assert numbers(watched.run(NOW_MS + 2 * HOUR_MS)) == ["ended"]
    assert watched.incidents() == [("T07", NOW_MS, NOW_MS + 2 * HOUR_MS)]


def test_a_backup_older_than_two_days_is_found(watched: Watched) -> None:
    watched.db.execute("update chores set done_ms = ?", [NOW_MS])
    assert watched.found(NOW_MS + 2 * DAY_MS, "T10") == []
    [line] = watched.found(NOW_MS + 2 * DAY_MS + 1, "T10")
    assert line.startswith("T10 warning: backup: the newest is from 2026-11-22 12:00 UTC, since")


def test_a_station_that_was_never_backed_up_has_a_week(watched: Watched) -> None:
    watched.db.execute("delete from chores")
    assert watched.found(NOW_MS, "T10") == []  # it has no node yet
    watched.node("basement", created_ms=NOW_MS)
    assert watched.found(NOW_MS + 7 * DAY_MS, "T10") == []
    [line] = watched.found(NOW_MS + 7 * DAY_MS + 1, "T10")
    assert "none was ever made" in line


def test_hours_that_arent_what_the_readings_say_are_found_until_all_are_right(
    watched: Watched,
) -> None:
    watched.node("basement")
    sensor = watched.sensor("basement")
    watched.every_minute(sensor, *[20.0] * 120)
    assert watched.run(NOW_MS, run_jobs=True) == []
    close_hours(watched.db, NOW_MS + DAY_MS, 10)
    watched.db.execute("update hours set n = n + 1")
    assert watched.found(NOW_MS, "T12") == []  # it was looked at not long ago
    day_ms = NOW_MS + DAY_MS
    told = [line for _, line in watched.run(day_ms, run_jobs=True) if "hourly" in line]
    [line] = told
    assert line.startswith("hourly: 3 hours not what the readings say (checked 2026-11-23 12:00")
    watched.db.execute("update hours set n = n - 1")
    assert len(watched.found(day_ms + HOUR_MS, "T12")) == 1
    again = watched.run(day_ms + HOUR_MS, run_jobs=True, all_jobs=True)
    assert [what for what, line in again if "hourly" in line] == ["ended"]


def test_jobs_run_daily_and_weekly(watched: Watched) -> None:
    done: list[tuple[int, set[str]]] = []
    for hour in range(0, 10 * 24, 6):
        report = watched.check(NOW_MS + hour * HOUR_MS, run_jobs=True)
        watched.run(NOW_MS + hour * HOUR_MS, run_jobs=True)
        done.append((hour // 24, {*report.jobs_done}))
    assert [(day, names) for day, names in done if names] == [
        (0, {"integrity_check", "rollup_check"}),
        *((day, {"quick_check", "rollup_check_lately"}) for day in range(1, 7)),
        (7, {"integrity_check", "rollup_check"}),
        *((day, {"quick_check", "rollup_check_lately"}) for day in range(8, 10)),
    ]


def test_jobs_run_only_with_run_jobs_and_all_of_them_with_all_jobs(
    watched: Watched,
) -> None:
    assert watched.check(NOW_MS).jobs_done == {}
    assert {*watched.check(NOW_MS, run_jobs=True, all_jobs=True).jobs_done} == {
        "integrity_check",
        "rollup_check",
    }


def damage(path: Path) -> None:
    """Overwrite the index on time; the tables stay as they are."""
    with open_database(path) as db:
        db.execute("pragma wal_checkpoint(truncate)")
        [page] = db.execute(
            "select rootpage from sqlite_master where name = 'readings_measured_ms'"
        ).fetchone()
        [size] = db.execute("pragma page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(os.urandom(size))


def test_a_damaged_file_is_found_and_hides_nothing_else(watched: Watched) -> None:
    watched.node("basement", clock_skew_s=90.0)
    watched.every_minute(watched.sensor("basement"), *[20.0] * 60)
    watched.db.close()
    damage(watched.path)
    report = watched.check(NOW_MS, run_jobs=True)
    lines = report.lines()
    assert [line[:12] for line in lines if line.startswith("T11")] == ["T11 critical"]
    assert [line for line in lines if line.startswith("T07")]
    assert report.status == 2


def test_a_file_that_is_no_database_any_more_is_found(watched: Watched) -> None:
    watched.db.close()
    watched.path.write_bytes(b"something else altogether, " * 400)
    report = watched.check(NOW_MS)
    assert [line for line in report.lines() if line.startswith("T11 critical: database: file is")]
    assert {"T01", "T02", "T15"} <= report.skipped


@pytest.mark.parametrize("gone", [True, False])
def test_a_database_that_cant_be_used_is_found(watched: Watched, gone: bool) -> None:
    watched.db.close()
    if gone:
        watched.path.unlink()
    else:
        with open_database(watched.path) as db:
            db.execute("delete from _sqlite_migrations where name like '0009%'")
    report = watched.check(NOW_MS)
    [line] = [line for line in report.lines() if line.startswith("T16 critical: database:")]
    assert ("no such database" if gone else "another version of tmon") in line
    assert report.status == 2
    assert gone is not watched.path.exists()


def test_a_channel_that_failed_is_found_until_a_message_is_delivered(watched: Watched) -> None:
    watched.db.execute(
        "insert into channels (name, last_sent_event, failed_ms) values ('mailto:abc', 0, ?)",
        [NOW_MS - 30 * SECOND_MS],
    )
    [line] = watched.found(NOW_MS, "T15")
    assert line.startswith("T15 warning: mailto: 1 channel failed; the next run tries again, since")
    assert "abc" not in line
    assert numbers(watched.run(NOW_MS)) == ["began"]
    watched.db.execute("update channels set failed_ms = null")
    assert numbers(watched.run(NOW_MS)) == ["ended"]


def test_a_check_that_fails_is_unknown_and_hides_nothing_else(watched: Watched) -> None:
    def fails() -> Iterator[Finding]:
        yield Finding("T07", Severity.WARNING, "clock 75 s ahead", "basement")
        raise ZeroDivisionError("division by zero")

    report = Report()
    report.run(("T07",), fails)
    assert [finding.number for finding in report.findings] == ["T07"]
    assert report.unknown == ["can't check (A clock is off): ZeroDivisionError: division by zero"]
    assert report.skipped == {"T07"}
    assert report.status == 3
    report.run((), lambda: [check.unusable("disk I/O error")])
    options = check.CheckOptions(watched.settings, NOWHERE, NOW_MS)
    check.run_checks(options, report, lambda _: None)
    assert report.status == 2


def test_control_characters_of_a_sender_are_not_printed(watched: Watched) -> None:
    watched.db.conn.executemany(
        "insert into rejected (received_ms, node, code, reason) values (?, 'attic', 'bad', ?)",
        [(NOW_MS - 1, "\x1b[2J\nT99 critical: all is lost")] * 20,
    )
    [line] = watched.found(NOW_MS, "T06")
    assert line.isprintable()
