"""A process that is killed while it sends: no event is lost, at most one message is repeated."""

import socket
import subprocess
import threading
from pathlib import Path

import pytest
from sqlite_utils import Database

from tests.notify.alerting import HOUR_MS, NOW_MS, Station
from tests.notify.receivers import Listener, Mailbox, http_listener, soon, text_of
from tests.watch.watched import NOWHERE
from tmon.db.connect import open_database
from tmon.watch.check import CheckOptions
from tmon.watch.notify import check_and_notify
from tmon.watch.outbox import Busy, register_channels, send_new_events


def hold(other: Database) -> None:
    other.execute("begin immediate")


def kill(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate(timeout=60)


def webhook(listener: Listener) -> str:
    return f"json://{listener.address}/?rto=20"


def test_killed_before_it_arrived_it_is_sent_once(tmp_path: Path) -> None:
    """The server takes the connection and goes away before it reads anything."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(60)
        port = listening.getsockname()[1]
        station = Station(tmp_path, f"json://127.0.0.1:{port}/?rto=20")
        station.began()
        sender = station.process()
        connection, _ = listening.accept()
        kill(sender)
        connection.close()
    assert station.channels() == [(0, None)]
    with http_listener(port) as listener:
        assert send_new_events(station.db, station.settings, NOW_MS + HOUR_MS) == []
        assert len(listener.requests) == 1


@pytest.mark.parametrize("newer", [False, True])
def test_killed_while_it_waits_for_the_answer_it_is_sent_again(
    tmp_path: Path, listener: Listener, *, newer: bool
) -> None:
    station = Station(tmp_path, webhook(listener), TMON_PUBLIC_URL="https://tmon.example.org")
    station.began("one")
    listener.hold = threading.Event()
    sender = station.process()
    soon(lambda: listener.requests)
    kill(sender)
    listener.hold.set()
    listener.hold = None
    if newer:
        station.began("two", at_ms=NOW_MS + HOUR_MS)
    assert send_new_events(station.db, station.settings, NOW_MS + HOUR_MS) == []
    assert send_new_events(station.db, station.settings, NOW_MS + HOUR_MS) == []
    first, second = [request.json["message"] for request in listener.requests]
    assert "- one" in first
    assert "- one" in second
    assert ("- two" in second) is newer


def test_killed_between_delivery_and_commit_it_is_sent_again_to_that_channel(
    tmp_path: Path, mailbox: Mailbox, listener: Listener
) -> None:
    station = Station(
        tmp_path,
        webhook(listener),
        f"mailto://{mailbox.address}?from=a@example.org&to=b@example.org",
    )
    station.began("one")
    register_channels(station.db, station.settings, NOW_MS)
    other = open_database(station.settings.db)

    def hold_when_the_webhook_is_recorded() -> None:
        soon(lambda: (1, None) in station.channels())
        hold(other)  # so that the mail can't be recorded

    mailbox.on_mail = hold_when_the_webhook_is_recorded
    sender = station.process()
    soon(lambda: mailbox.mails and other.conn.in_transaction)
    kill(sender)
    mailbox.on_mail = lambda: None
    other.rollback()
    other.close()
    assert sorted(station.channels()) == [(0, None), (1, None)]
    station.began("two", at_ms=NOW_MS + HOUR_MS)
    assert send_new_events(station.db, station.settings, NOW_MS + HOUR_MS) == []
    assert send_new_events(station.db, station.settings, NOW_MS + HOUR_MS) == []
    assert [text_of(mail) for mail in mailbox.mails] == ["New\n- one\n", "New\n- one\n- two\n"]
    messages = [request.json["message"] for request in listener.requests]
    assert messages == ["New\n- one", "New\n- two"]


def test_killed_after_the_commit_it_is_not_sent_again(tmp_path: Path, listener: Listener) -> None:
    station = Station(tmp_path, webhook(listener))
    station.began()
    sender = station.process()
    soon(lambda: station.channels() == [(1, None)])
    kill(sender)
    assert send_new_events(station.db, station.settings, NOW_MS + HOUR_MS) == []
    assert len(listener.requests) == 1


def test_a_lock_held_for_a_moment_after_delivery_changes_nothing(
    tmp_path: Path, listener: Listener
) -> None:
    station = Station(tmp_path, webhook(listener))
    station.began()
    other = open_database(station.settings.db)
    timer = threading.Timer(2.5, other.rollback)  # longer than other connections wait

    def hold_a_moment() -> None:
        hold(other)
        timer.start()

    listener.on_request = hold_a_moment
    options = CheckOptions(station.settings, NOWHERE, NOW_MS)
    assert check_and_notify(options, lambda _: None).failures == []
    timer.join()
    other.close()
    [newest] = station.db.execute("select max(id) from events").fetchone()
    assert station.channels() == [(newest, None)]
    assert len(listener.requests) == 1


def test_two_processes_at_a_time_send_once(tmp_path: Path, listener: Listener) -> None:
    station = Station(tmp_path, webhook(listener))
    register_channels(station.db, station.settings, NOW_MS)
    station.began()
    listener.hold = threading.Event()
    senders = [station.process(), station.process()]
    soon(lambda: listener.requests)
    with pytest.raises(Busy):
        send_new_events(station.db, station.settings, NOW_MS, timeout_s=0.1)
    listener.hold.set()
    assert [sender.communicate(timeout=60) for sender in senders] == [("", "")] * 2
    assert len(listener.requests) == 1


def test_a_delivery_that_cannot_be_recorded_is_reported_and_repeated(
    tmp_path: Path, listener: Listener
) -> None:
    station = Station(tmp_path, webhook(listener))
    station.began()
    register_channels(station.db, station.settings, NOW_MS)
    station.db.execute("pragma busy_timeout = 1")
    with open_database(station.settings.db) as other:
        listener.on_request = lambda: hold(other)
        [failure] = send_new_events(station.db, station.settings, NOW_MS)
        assert failure.endswith("sent, but the database can't be written, so it will be sent again")
        other.rollback()
    listener.on_request = lambda: None
    assert send_new_events(station.db, station.settings, NOW_MS) == []
    first, again = listener.requests
    assert first.body == again.body
    assert station.channels() == [(1, None)]
