"""The weekly report: what SQL says of seven whole UTC days, printed or sent."""

import json
import os
import re
import subprocess
import sys
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.notify.alerting import NOW_MS, Station
from tests.notify.receivers import Listener, Mailbox, sent_by, stand_in_sendmail, text_of
from tmon.core.time import DAY_MS, HOUR_MS, now_ms
from tmon.db.connect import transaction
from tmon.watch.messages import MAIL_BYTES, Picture
from tmon.watch.outbox import send_to_all
from tmon.watch.weekly import MOST_PICTURES, Incident, WeeklyReport, weekly_report

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


PNG = b"\x89PNG\r\n\x1a\n"


def now_filled(station: Station) -> None:
    """Three sensors of hostile names, in the week before today; one of them was too warm."""
    to_ms = now_ms() // DAY_MS * DAY_MS
    with transaction(station.db):
        station.db.execute("delete from readings")
        for number in (2, 3):
            station.db.execute(
                "insert into sensors (id, node, name, unit)"
                " select ?, node, ?, unit from sensors where id = 1",
                (number, f"<b>{number}"),
            )
        for number in (1, 2, 3):
            for hour in range(7 * 24):
                reading = (number, to_ms - (hour + 1) * HOUR_MS, float(hour % (5 + 5 * number)))
                station.db.execute("insert into readings values (?, ?, ?)", reading)
        station.db.execute(
            "insert into incidents (finding, severity, sensor, reason, from_ms, to_ms)"
            " values ('T02', 'critical', 2, 'too warm', ?, ?)",
            (to_ms - DAY_MS, to_ms - HOUR_MS),
        )


def pictures(mail: EmailMessage) -> dict[str, bytes]:
    """The pictures of a mail by their Content-ID."""
    return {
        part["Content-ID"].strip("<>"): bytes(part.get_content())
        for part in mail.walk()
        if part.get_content_type() == "image/png"
    }


@pytest.mark.parametrize("by", ["smtp", "sendmail"])
def test_a_mail_has_the_pictures_of_the_sensors_that_deserve_one(
    tmp_path: Path, mailbox: Mailbox, by: str
) -> None:
    station = Station(
        tmp_path,
        *[f"mailto://{mailbox.address}?from=a@example.org&to=b@example.org"] * (by == "smtp"),
    )
    now_filled(station)
    stand_in_sendmail(tmp_path)
    path = f"{tmp_path}:{os.environ['PATH']}"
    environ = {**os.environ, **station.environ, "PATH": path}
    command = [sys.executable, "-m", "tmon", "report", "--weekly", "--send"]
    sent = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert (sent.returncode, sent.stderr) == (0, "")
    mail = mailbox.mails[0] if by == "smtp" else sent_by(tmp_path)[0]
    types = [part.get_content_type() for part in mail.walk()]
    assert {"multipart/related", "multipart/alternative", "text/plain", "text/html"} <= {*types}
    assert [*pictures(mail)] == ["week-1.png", "week-2.png"]
    assert all(png.startswith(PNG) and len(png) < 60_000 for png in pictures(mail).values())
    html = mail.get_body(("html",))
    text = mail.get_body(("plain",))
    assert html
    assert text
    shown = html.get_content()
    assert re.findall(r'src="cid:([^"]*)" alt="([^"]*)"', shown) == [
        ("week-1.png", "cellar &lt;b&gt;2, the week as a chart"),  # it was too warm
        ("week-2.png", "cellar &lt;b&gt;3, the week as a chart"),  # the widest of its unit
    ]
    assert "<b>" not in shown
    assert "- too warm (since" in text.get_content()
    assert "<b>3" in text.get_content()


def test_pictures_are_few_and_of_sensors_with_incidents_first(tmp_path: Path) -> None:
    report = filled(Station(tmp_path))
    [week] = report.sensors
    many = [week._replace(id=number, unit=f"u{number}") for number in range(10)]
    wrong = [
        Incident("", FROM_MS, None, sensor, is_critical)
        for sensor, is_critical in ((7, False), (8, True), (None, True), (99, True))
    ]
    chosen = report._replace(sensors=many, incidents=wrong).pictured
    assert [one.id for one in chosen][:2] == [8, 7]
    assert len(chosen) == MOST_PICTURES
    flat = week._replace(least=1.0, greatest=1.0)
    assert report._replace(sensors=[flat]).pictured == []


def test_what_shows_no_pictures_gets_none(tmp_path: Path, listener: Listener) -> None:
    station = Station(tmp_path, f"ntfy://{listener.address}/t")
    report = filled(station)
    pictured = report._replace(pictures=[Picture("week-1.png", "x", PNG)])
    assert send_to_all(station.settings, pictured) == []
    [request] = listener.requests
    assert request.json["message"].splitlines()[0] == report.text(3000).splitlines()[0]
    assert "cid:" not in str(request.json)
