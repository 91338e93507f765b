"""The outbox: send new events to every channel, at least once.

The table ``events`` is the queue, and ``channels.last_sent_event`` is each channel's place in it:
the last event that was delivered. If a message fails, or the process is killed before it
recorded the delivery, the next run sends the same events again, with newer ones.
"""

import fcntl
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from sqlite_utils import Database

from tmon.core.deadline import run_with_deadline
from tmon.core.errors import TmonError
from tmon.core.settings import Settings
from tmon.db.connect import sqlite3, transaction
from tmon.watch.channels import Channel, load_channels, load_secret
from tmon.watch.messages import (
    AlertLine,
    Message,
    Sendable,
    Undelivered,
    message_of_events,
    one_line,
)

TIMEOUT_S = 60.0  # for all channels together
KEEP_UNSET_MS = 30 * 86_400_000  # a channel that is no longer set, since it missed an event

_SENT = "update channels set last_sent_event = ?, failed_ms = null where name = ?"
_FAILED = "update channels set failed_ms = coalesce(failed_ms, ?) where name = ?"


class Busy(TmonError):
    """Another process sends notifications of the same station."""


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
    """
    channels = register_channels(db, settings, now_ms)
    failures = []
    with _exclusive(settings.db.absolute().parent, 2 * timeout_s):
        last_sent = dict(db.execute("select name, last_sent_event from channels").fetchall())
        [newest] = db.execute("select coalesce(max(id), 0) from events").fetchone()
        url = settings.public_url
        messages = {
            channel: message
            for channel in channels
            if (message := message_of_events(db, last_sent[channel.name], newest, url))
        }
        for channel, not_sent in _send(messages, timeout_s):
            failure = not_sent
            try:
                if failure is None:
                    db.execute(_SENT, [newest, channel.name])
                else:
                    db.execute(_FAILED, [now_ms, channel.name])
            except sqlite3.OperationalError:
                again = "sent, but the database can't be written, so it will be sent again"
                failure = failure or f"{channel.label}: {again}"
            if failure:
                failures.append(failure)
    return failures


def send_unrecorded(
    settings: Settings, lines: Sequence[str], *, timeout_s: float = TIMEOUT_S
) -> list[str]:
    """Send these lines to every channel, because the database can't be written.

    Returns:
        A line for each failure.

    Raises:
        InvalidChannels: an address can't be understood, or has no recipient.
    """
    found = [AlertLine("found", "critical", one_line(line), "/") for line in lines]
    opening = "The database can't be written, so each check may send this again.\n"
    return send_to_all(settings, Message(found, settings.public_url, opening), timeout_s=timeout_s)


def send_to_all(
    settings: Settings, message: Sendable, *, timeout_s: float = TIMEOUT_S
) -> list[str]:
    """Send one message to every channel, once; nothing is recorded.

    Returns:
        A line for each failure, without addresses or secrets.

    Raises:
        InvalidChannels: an address can't be understood, or has no recipient.
    """
    results = _send(dict.fromkeys(load_channels(settings, b""), message), timeout_s)
    return [failure for _, failure in results if failure]


def _send(
    messages: Mapping[Channel, Sendable], timeout_s: float
) -> Iterator[tuple[Channel, str | None]]:
    """Send messages in parallel; yield each channel as it ends, with a line if it failed."""
    calls = {channel: partial(channel.send, message) for channel, message in messages.items()}
    for channel, error in run_with_deadline(calls, timeout_s):
        if error is None:
            yield channel, None
            continue
        why = str(error) if isinstance(error, Undelivered) else type(error).__name__
        if isinstance(error, TimeoutError):
            why = "no answer in time"
        yield channel, f"{channel.label}: not sent: {why}"


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
