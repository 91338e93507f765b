"""The outbox: send new events to every channel at least once.

The table ``events`` is the queue, and a row of ``channels`` is a channel's place in it:
``last_sent_event`` is the last event that was delivered. ``sending_event`` is set to a message's
last event before it is sent, and emptied when it was delivered. If the process is killed in
between, or the receiver didn't confirm, it stays, and the next run sends the same message
again, with the same Message-ID, before anything newer. If a message was certainly not
delivered, it is emptied too, and the next message includes its events.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from sqlite_utils import Database

from tmon.core.deadline import run_with_deadline
from tmon.core.errors import TmonError
from tmon.core.settings import Settings
from tmon.db.connect import sqlite3, transaction
from tmon.watch.channels import Channel, load_channels, load_secret
from tmon.watch.mail import Undelivered, host_name
from tmon.watch.messages import message_of_events, message_of_lines

TIMEOUT_S = 60.0  # for all channels together; once more if some repeat a message
KEEP_UNSET_MS = 30 * 86_400_000  # a channel that is no longer set, since it missed an event
WRITE_TRIES = 5  # each waits as long as the connection's busy timeout


class Busy(TmonError):
    """Another process sends notifications of the same station."""


class Delivery(NamedTuple):
    """A message to one channel: the events after ``after`` up to ``last``."""

    channel: Channel
    after: int
    last: int
    is_repeat: bool  # an earlier run sent it, and it may have arrived


def register_channels(db: Database, settings: Settings, now_ms: int) -> list[Channel]:
    """Make sure that each channel has its row. Call it before a check records events.

    A new channel gets the events of ``now_ms`` and later. A channel that is no longer set
    doesn't count as failed, and its row is deleted in the end.

    Raises:
        InvalidChannels: an address can't be understood, or has no recipient.
        NoSecret: the station's secret can't be read.
    """
    channels = load_channels(settings, load_secret(settings))
    names = {channel.name for channel in channels}
    known = {name for (name,) in db.execute("select name from channels")}
    if known != names:
        with transaction(db):
            for name in names - known:
                db.execute(
                    "insert into channels (name, last_sent_event)"
                    " select ?, coalesce(max(id), 0) from events where at_ms < ?",
                    [name, now_ms],
                )
            for name in known - names:
                db.execute("update channels set failed_ms = null where name = ?", [name])
                db.execute(
                    "delete from channels where name = ?"
                    " and (select min(at_ms) from events where id > channels.last_sent_event) < ?",
                    [name, now_ms - KEEP_UNSET_MS],
                )
    return channels


def send_new_events(
    db: Database, settings: Settings, now_ms: int, *, timeout_s: float = TIMEOUT_S
) -> list[str]:
    """Send each channel one message with the events that it hasn't got.

    Returns:
        A line for each failure, without addresses or secrets; the next run tries again.

    Raises:
        InvalidChannels: an address can't be understood, or has no recipient.
        NoSecret: the station's secret can't be read.
        Busy: another process sends, and takes longer than it should.
        sqlite3.OperationalError: the database can't be written.
    """
    channels = register_channels(db, settings, now_ms)
    with _exclusive(settings.db.absolute().parent, 2 * timeout_s):
        repeats = [
            Delivery(channel, last_sent, sending, is_repeat=True)
            for channel, last_sent, sending in _progress(db, channels)
            if sending is not None
        ]
        failed = _send(db, settings, repeats, now_ms, timeout_s)
        [newest] = db.execute("select coalesce(max(id), 0) from events").fetchone()
        rest = [channel for channel in channels if channel.name not in failed]
        new = [
            Delivery(channel, last_sent, newest, is_repeat=False)
            for channel, last_sent, _ in _progress(db, rest)
            if last_sent < newest
        ]
        if new:
            with transaction(db):
                for delivery in new:
                    query = "update channels set sending_event = ? where name = ?"
                    db.execute(query, [newest, delivery.channel.name])
        failed |= _send(db, settings, new, now_ms, timeout_s)
    return [*failed.values()]


def send_unrecorded(
    settings: Settings, lines: Sequence[str], now_ms: int, *, timeout_s: float = TIMEOUT_S
) -> list[str]:
    """Send these lines to every channel, because the database can't be written.

    Returns:
        A line for each failure.

    Raises:
        InvalidChannels: an address can't be understood, or has no recipient.
    """
    channels = {channel.name: channel for channel in load_channels(settings, b"")}
    calls = {}
    for name, channel in channels.items():
        message = message_of_lines(
            lines, now_ms, public_url=settings.public_url, host=_host(settings)
        )
        calls[name] = partial(channel.deliver, message)
    ended = run_with_deadline(calls, timeout_s)
    return [_failure(channels[name], error) for name, error in ended if error]


def _progress(
    db: Database, channels: Sequence[Channel]
) -> Iterator[tuple[Channel, int, int | None]]:
    """Each channel, its last delivered event, and the last of a message that may be."""
    for channel in channels:
        query = "select last_sent_event, sending_event from channels where name = ?"
        last_sent, sending = db.execute(query, [channel.name]).fetchone()
        yield channel, last_sent, sending


def _send(
    db: Database,
    settings: Settings,
    deliveries: Sequence[Delivery],
    now_ms: int,
    timeout_s: float,
) -> dict[str, str]:
    """Send messages in parallel, and record how each ended; failures by channel."""
    by_name = {delivery.channel.name: delivery for delivery in deliveries}
    calls: dict[str, Callable[[], None]] = {}
    for name, delivery in by_name.items():
        message = message_of_events(
            db,
            delivery.after,
            delivery.last,
            public_url=settings.public_url,
            sender=f"{delivery.channel.hash}@{_host(settings)}",
        )
        calls[name] = partial(delivery.channel.deliver, message) if message else lambda: None
    failures = {}
    for name, error in run_with_deadline(calls, timeout_s):
        failure = _record(db, by_name[name], error, now_ms)
        if failure:
            failures[name] = failure
    return failures


def _record(db: Database, delivery: Delivery, error: Exception | None, now_ms: int) -> str | None:
    """Record how a delivery ended; returns the line to show if it failed."""
    channel = delivery.channel
    if error is None:
        query = (
            "update channels set last_sent_event = ?, sending_event = null, failed_ms = null"
            " where name = ?"
        )
        if _write(db, query, [delivery.last, channel.name]):
            return None
        return f"{channel.label}: sent, but the database can't be written, so it will be sent again"
    undelivered = isinstance(error, Undelivered) and not error.maybe_delivered
    sending_event = None if undelivered and not delivery.is_repeat else delivery.last
    query = (
        "update channels set sending_event = ?, failed_ms = coalesce(failed_ms, ?) where name = ?"
    )
    _write(db, query, [sending_event, now_ms, channel.name])
    return _failure(channel, error)


def _write(db: Database, query: str, parameters: Sequence[object]) -> bool:
    """Run one statement; waits for other programs' short transactions."""
    for _ in range(WRITE_TRIES):
        try:
            db.execute(query, [*parameters])
        except sqlite3.OperationalError:
            continue
        return True
    return False


def _failure(channel: Channel, error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"{channel.label}: not sent: no answer in time"
    why = str(error) if isinstance(error, Undelivered) else type(error).__name__
    return f"{channel.label}: not sent: {why}"


def _host(settings: Settings) -> str:
    return urlsplit(settings.public_url).hostname or host_name()


@contextmanager
def _exclusive(folder: Path, timeout_s: float) -> Iterator[None]:
    """Let one process at a time send a station's notifications.

    It locks the folder, because closing a second descriptor of the database file would
    release SQLite's own locks.
    """
    deadline = time.monotonic() + timeout_s
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise Busy(
                        "another `tmon check` is sending notifications; this one leaves it"
                    ) from error
                time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)
