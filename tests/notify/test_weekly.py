"""The weekly report: what SQL says of seven whole UTC days, printed or sent."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.notify.alerting import NOW_MS, Station
from tests.notify.receivers import Listener, Mailbox, text_of
from tmon.core.time import DAY_MS, HOUR_MS
from tmon.db.connect import transaction
from tmon.watch.messages import MAIL_BYTES
from tmon.watch.outbox import send_to_all
from tmon.watch.weekly import WeeklyReport, weekly_report

TO_MS = NOW_MS - NOW_MS % DAY_MS
FROM_MS = TO_MS - 7 * DAY_MS


def filled(station: Station) -> WeeklyReport:
    """Sensor 1 with a reading an hour but for a day, and one on each side of the week."""
    hours = [FROM_MS + hour * HOUR_MS for hour in range(-30, 7 * 24 + 2)]
    kept = [at_ms for at_ms in hours if not FROM_MS + DAY_MS <= at_ms < FROM_MS + 2 * DAY_MS]
    with transaction(station.db):
        for at_ms in kept:
            value = (at_ms - FROM_MS) / HOUR_MS
            station.db.execute("insert into readings values (1, ?, ?)", (at_ms, value))
    return weekly_report(station.db, NOW_MS, "https://x.example")


def test_it_says_what_sql_says_of_the_seven_days(tmp_path: Path) -> None:
    station = Station(tmp_path)
    report = filled(station)
    [week] = report.sensors
    [[least, mean, greatest, count]] = station.db.execute(
        "select min(value), avg(value), max(value), count(*) from readings"
        " where measured_ms >= ? and measured_ms < ?",
        (FROM_MS, TO_MS),
    ).fetchall()
    assert (week.least, week.greatest, week.readings) == (least, greatest, count)
    assert week.mean == pytest.approx(mean)
    assert week.coverage == pytest.approx(6 / 7)
    assert "86 %" in report.text(10_000)
    assert "https://x.example/" in report.text(10_000)


def test_a_sensor_that_began_in_the_week_is_complete_from_then_on(tmp_path: Path) -> None:
    station = Station(tmp_path)
    with transaction(station.db):
        for hour in range(10):
            at_ms = TO_MS - (hour + 1) * HOUR_MS
            station.db.execute("insert into readings values (1, ?, 1)", (at_ms,))
    [week] = weekly_report(station.db, NOW_MS, "").sensors
    assert week.coverage == 1


def test_it_lists_what_was_wrong_in_the_week_and_nothing_else(tmp_path: Path) -> None:
    station = Station(tmp_path)
    assert "Nothing was wrong." in weekly_report(station.db, NOW_MS, "").text(10_000)
    with transaction(station.db):
        for reason, from_ms, to_ms in (
            ("long ago", FROM_MS - 9 * DAY_MS, FROM_MS - 8 * DAY_MS),
            ("over", FROM_MS + HOUR_MS, FROM_MS + 3 * HOUR_MS),
            ("open\r\nBcc: x", FROM_MS - DAY_MS, None),
            ("today", TO_MS + HOUR_MS, None),
        ):
            station.db.execute(
                "insert into incidents (finding, severity, subject, reason, from_ms, to_ms)"
                " values ('disk', 'warning', ?, ?, ?, ?)",
                (reason, reason, from_ms, to_ms),
            )
    report = weekly_report(station.db, NOW_MS, "")
    lines = [line for line in report.text(10_000).splitlines() if line.startswith("- ")]
    assert [line.split(" (")[0] for line in lines] == ["- open Bcc: x", "- over"]
    assert lines[0].endswith("still open)")
    assert lines[1].endswith("for 2 h)")


def test_an_empty_station_says_so(tmp_path: Path) -> None:
    report = weekly_report(Station(tmp_path).db, NOW_MS, "")
    assert "No sensor had a reading." in report.text(10_000)
    assert report.subject == "tmon: the week to Saturday, 2026-11-21"


def test_many_sensors_fit_a_message_and_the_rest_is_counted(tmp_path: Path) -> None:
    report = filled(Station(tmp_path))
    many = report._replace(sensors=[report.sensors[0]] * 5000)
    for most in (3_500, MAIL_BYTES):
        text = many.text(most)
        assert len(text.encode()) <= most
        shown = text.count("86 %")
        assert shown > 20
        assert f"{5000 - shown:,} more sensors" in text
    assert len(many.text(100).encode()) <= 100


def test_it_goes_to_every_channel(tmp_path: Path, mailbox: Mailbox, listener: Listener) -> None:
    station = Station(
        tmp_path,
        f"mailto://{mailbox.address}?from=a@example.org&to=b@example.org",
        f"ntfy://{listener.address}/t",
    )
    report = filled(station)
    assert send_to_all(station.settings, report) == []
    [mail], [request] = mailbox.mails, listener.requests
    assert mail["Subject"] == request.json["title"] == report.subject
    assert text_of(mail).strip() == report.text(MAIL_BYTES).strip()


def test_the_command_prints_or_sends_and_tells_failures(tmp_path: Path, listener: Listener) -> None:
    station = Station(tmp_path, f"ntfy://{listener.address}/t", "ntfy://127.0.0.1:9/t")
    command = [sys.executable, "-m", "tmon", "report", "--weekly"]

    def run(*flags: str) -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, **station.environ}
        return subprocess.run(
            [*command, *flags], env=environ, capture_output=True, text=True, check=False
        )

    printed = run()
    assert printed.returncode == 0
    assert printed.stdout.startswith("tmon: the week to ")
    assert listener.requests == []
    sent = run("--send")
    assert sent.returncode == 1
    assert sent.stdout == ""
    assert sent.stderr.startswith("ntfy (address 2 of TMON_NOTIFY): not sent: ")
    [request] = listener.requests
    assert json.dumps(request.json["title"]) in json.dumps(printed.stdout.splitlines()[0])
