"""A process that is killed while it sends: no event is lost, and repeats are identical."""

import fcntl
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlite_utils import Database

from tests.notify.alerting import HOUR_MS, NOW_MS, Station
from tests.notify.receivers import Listener, Mailbox, http_listener, soon, text_of
from tmon.db.connect import open_database, sqlite3
from tmon.watch.outbox import Busy, register_channels, send_new_events


@contextmanager
def locked(station: Station) -> Iterator[Database]:
    """Another process has the database's write lock."""
    with open_database(station.settings.db) as other:
        other.execute("begin immediate")
        try:
            yield other
        finally:
            other.rollback()


def lock_is_held(folder: Path) -> bool:
    """Whether a process has locked the folder to send."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def hold(other: Database) -> None:
    other.execute("begin immediate")


def kill(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate(timeout=60)


def webhook(listener: Listener) -> str:
    return f"json://{listener.address}/?rto=20"


def test_killed_before_anything_was_recorded_it_is_sent_once(
    tmp_path: Path, listener: Listener
) -> None:
    station = Station(tmp_path, webhook(listener))
    register_channels(station.db, station.settings, NOW_MS)
    station.began()
    with locked(station):
        sender = station.process()
        soon(lambda: lock_is_held(tmp_path))
        kill(sender)
    assert station.channels() == [(0, None, None)]
    assert send_new_events(station.db, station.settings, NOW_MS + HOUR_MS) == []
    assert len(listener.requests) == 1


def test_killed_before_it_arrived_it_is_sent_once(tmp_path: Path) -> None:
    """Noted as under way, and the server never came to take it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        station = Station(tmp_path, f"json://127.0.0.1:{port}/?rto=20")
        station.began()
        sender = station.process()
        soon(lambda: station.channels() == [(0, 1, None)])
        kill(sender)
    with http_listener(port) as listener:
        assert send_new_events(station.db, station.settings, NOW_MS + HOUR_MS) == []
        assert len(listener.requests) == 1


@pytest.mark.parametrize("newer", [False, True])
def test_killed_while_it_waits_for_the_answer_the_same_is_sent_again(
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
    station.db.execute("update incidents set severity = 'critical'")
    if newer:
        station.began("two", at_ms=NOW_MS + HOUR_MS)
    assert send_new_events(station.db, station.settings, NOW_MS + HOUR_MS) == []
    assert send_new_events(station.db, station.settings, NOW_MS + HOUR_MS) == []
    first, second, *rest = listener.requests
    assert (second.body, second.headers["message-id"]) == (first.body, first.headers["message-id"])
    assert [request.json["title"] for request in rest] == (["tmon: new: two"] if newer else [])


def test_killed_between_delivery_and_commit_the_same_mail_is_sent_again(
    tmp_path: Path, mailbox: Mailbox
) -> None:
    station = Station(tmp_path, f"mailto://{mailbox.address}?from=a@example.org&to=b@example.org")
    station.began("one")
    register_channels(station.db, station.settings, NOW_MS)
    other = open_database(station.settings.db)
    mailbox.on_mail = lambda: hold(other)  # so it can't commit
    sender = station.process()
    soon(lambda: mailbox.mails and other.conn.in_transaction)
    kill(sender)
    mailbox.on_mail = lambda: None
    other.rollback()
    other.close()
    assert station.channels() == [(0, 1, None)]
    station.began("two", at_ms=NOW_MS + HOUR_MS)
    assert send_new_events(station.db, station.settings, NOW_MS + HOUR_MS) == []
    first, again, newer = mailbox.mails
    assert mailbox.raw[1] == mailbox.raw[0]
    assert first["Message-ID"] == again["Message-ID"] != newer["Message-ID"]
    assert "two" not in text_of(again)
    assert "one" not in text_of(newer)


def test_killed_after_the_commit_it_is_not_sent_again(tmp_path: Path, listener: Listener) -> None:
    station = Station(tmp_path, webhook(listener))
    station.began()
    sender = station.process()
    soon(lambda: station.channels() == [(1, None, None)])
    kill(sender)
    assert send_new_events(station.db, station.settings, NOW_MS + HOUR_MS) == []
    assert len(listener.requests) == 1


def test_a_lock_held_for_a_moment_after_delivery_changes_nothing(
    tmp_path: Path, listener: Listener
) -> None:
    station = Station(tmp_path, webhook(listener))
    station.began()
    register_channels(station.db, station.settings, NOW_MS)
    other = open_database(station.settings.db)
    timer = threading.Timer(2.5, other.rollback)  # longer than a connection waits

    def hold_a_moment() -> None:
        hold(other)
        timer.start()

    listener.on_request = hold_a_moment
    assert send_new_events(station.db, station.settings, NOW_MS) == []
    timer.join()
    other.close()
    assert station.channels() == [(1, None, None)]


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
    assert first.headers["message-id"] == again.headers["message-id"]


def test_a_message_that_cannot_be_recorded_is_not_sent(tmp_path: Path, listener: Listener) -> None:
    station = Station(tmp_path, webhook(listener))
    station.began()
    register_channels(station.db, station.settings, NOW_MS)
    station.db.execute("pragma busy_timeout = 1")
    with locked(station), pytest.raises(sqlite3.OperationalError, match="locked"):
        send_new_events(station.db, station.settings, NOW_MS)
    assert listener.requests == []
