"""The text of messages, and that hostile text can't change their form."""

from pathlib import Path

import apprise
import pytest

from tests.notify.alerting import NOW_MS, Station
from tests.notify.receivers import Listener, Mailbox, text_of
from tmon.db.connect import transaction
from tmon.watch.messages import MOST_LINES, Message, message_of_events
from tmon.watch.outbox import send_new_events

HOSTILE = "x\r\nBcc: eve@example.org\r\n\r\n<b>\x1b[31m\N{RIGHT-TO-LEFT OVERRIDE}@all [a](b)\x00"


def message(station: Station, after: int = 0, public_url: str = "") -> Message:
    last = station.db.execute("select max(id) from events").fetchone()[0]
    composed = message_of_events(station.db, after, last, public_url)
    assert composed is not None
    return composed


def test_new_lines_come_first_and_critical_ones_before_them(tmp_path: Path) -> None:
    station = Station(tmp_path)
    older = [station.began(f"older {n}") for n in range(3)]
    station.event(older[0], "goes on", "still")
    station.event(older[1], "ended", "over")
    station.began("a warning")
    station.began("it thaws", severity="critical")
    composed = message(station, after=3)
    assert composed.subject == "tmon: 2 new, 1 over, 1 going on"
    assert composed.severity == "critical"
    assert composed.text(10_000) == (
        "New, critical\n- it thaws\n\nNew\n- a warning\n\nOver\n- over\n\nGoing on\n- still"
    )


def test_an_incident_with_several_events_is_one_line_by_its_newest(tmp_path: Path) -> None:
    station = Station(tmp_path)
    over, worse = station.began("began"), station.began("began, too")
    station.event(over, "ended", "was over soon")
    station.event(worse, "goes on", "and is worse")
    assert message(station).text(10_000) == "New\n- and is worse\n\nOver\n- was over soon"


def test_incidents_that_share_a_line_are_one_line_and_count_as_one(tmp_path: Path) -> None:
    station = Station(tmp_path)
    station.db.execute("insert into sensors (id, node, name) values (2, 'cellar', 'door/left')")
    station.began("cellar: all 2 sensors silent")
    station.began("cellar: all 2 sensors silent", sensor=2)
    composed = message(station, public_url="https://x.example")
    assert composed.subject == "tmon: new: cellar: all 2 sensors silent"
    assert "  https://x.example/node/cellar\n" in composed.text(10_000)


def test_links_lead_to_the_sensor_or_to_the_table_of_incidents(tmp_path: Path) -> None:
    station = Station(tmp_path)
    station.db.execute("insert into sensors (id, node, name) values (2, 'cellar', 'door/left')")
    station.began(sensor=2)
    station.began("disk: nearly full", sensor=None)
    text = message(station, public_url="https://x.example").text(10_000)
    assert "  https://x.example/node/cellar/door/left\n" in text
    assert "- disk: nearly full\n  https://x.example/tmon/incidents\n" in text


def test_many_are_counted_and_linked_rather_than_listed(tmp_path: Path) -> None:
    station = Station(tmp_path)
    with transaction(station.db):
        for n in range(1500):
            station.began(f"line {n}")
    composed = message(station, public_url="https://x.example")
    assert composed.subject == "tmon: 1,500 new"
    lines = composed.text(100_000).splitlines()
    assert sum(line.startswith("- ") for line in lines) == MOST_LINES
    assert lines[-1] == "and 1,450 more: https://x.example/tmon/incidents?_sort_desc=id"
    short = composed.text(400)
    assert len(short.encode()) <= 400
    shown = sum(line.startswith("- ") for line in short.splitlines())
    assert f"and {1500 - shown:,} more: " in short
    assert len(composed.text(20).encode()) <= 20


def test_hostile_text_stays_one_line_without_headers_or_markup(
    tmp_path: Path, mailbox: Mailbox, listener: Listener
) -> None:
    station = Station(
        tmp_path,
        f"mailto://{mailbox.address}?from=a@example.org&to=b@example.org",
        f"ntfy://{listener.address}/t",
    )
    station.began(HOSTILE)
    assert send_new_events(station.db, station.settings, NOW_MS) == []
    line = "x Bcc: eve@example.org <b> [31m @all [a](b)"
    [mail], [request] = mailbox.mails, listener.requests
    assert mail["Bcc"] is None
    assert mail["Subject"] == f"tmon: new: {line}"
    assert text_of(mail) == f"New\n- {line}\n"
    assert mail.get_content_type() == "text/plain"
    assert not set("<>@[]`") & set(request.json["message"] + request.json["title"])


def test_ntfy_gets_title_and_text(tmp_path: Path, listener: Listener) -> None:
    station = Station(tmp_path, f"ntfy://{listener.address}/t")
    station.began("one")
    send_new_events(station.db, station.settings, NOW_MS)
    [request] = listener.requests
    assert request.json["topic"] == "t"
    assert request.json["title"] == "tmon: new: one"
    assert request.json["message"] == "New\n- one"


def test_a_whole_station_in_trouble_fits_into_one_ntfy_message(
    tmp_path: Path, listener: Listener
) -> None:
    station = Station(tmp_path, f"ntfy://{listener.address}/t")
    with transaction(station.db):
        for n in range(300):
            station.began(f"cellar/sensor-{n}: 31.5 °C is above 30 °C, since 12:00")
    send_new_events(station.db, station.settings, NOW_MS)
    [request] = listener.requests
    assert len(request.json["message"].encode()) <= 4096
    assert "more" in request.json["message"]


@pytest.mark.parametrize(
    ("severity", "what", "kind"),
    [
        ("critical", "began", apprise.NotifyType.FAILURE),
        ("warning", "goes on", apprise.NotifyType.WARNING),
        ("critical", "ended", apprise.NotifyType.SUCCESS),
    ],
)
def test_a_webhook_gets_the_severity(
    tmp_path: Path, listener: Listener, severity: str, what: str, kind: apprise.NotifyType
) -> None:
    station = Station(tmp_path, f"json://{listener.address}/")
    incident = station.began(severity=severity)
    station.event(incident, what, "how it is now")
    send_new_events(station.db, station.settings, NOW_MS)
    assert listener.requests[0].json["type"] == kind.value
