"""Tell everybody what is new: at least once, and again only with the same Message-ID.

A channel's row says how far it is: ``told`` is the last event that arrived there. Before
a message leaves, ``telling`` is set to its last event, and when it has arrived ``told``
is. A process killed in between leaves ``telling``, and the next one sends that very
message again before anything newer. So it is where no answer came. Where a message
certainly didn't arrive, ``telling`` is emptied, and the next message tells what came
since, too.
"""

import fcntl
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
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
from tmon.watch.channels import Channel, channels_of, scheme_of, secret
from tmon.watch.mail import Undelivered, host_name
from tmon.watch.messages import of_events, of_lines

PATIENCE_S = 60.0  # with all channels together; twice where some have a message under way
FORGOTTEN_AFTER_MS = 30 * 86_400_000  # for which a channel that isn't set any more has missed some
NOTING_TRIES = 5  # each waits as long as the connection's busy timeout


class Busy(TmonError):
    """Another process is telling people of the same station."""


class Delivery(NamedTuple):
    """A message: the events after ``after`` up to ``last``; ``again``: it may have arrived."""

    channel: Channel
    after: int
    last: int
    again: bool


def enlist(db: Database, settings: Settings, now_ms: int) -> list[Channel]:
    """Have a row for each channel; best before a run writes its first event.

    A new channel is told what is found at ``now_ms`` or later. Of one that isn't set any
    more nothing counts as undelivered, and in the end it is forgotten.

    Raises:
        InvalidChannels: an address can't be understood, or names nobody.
        NoSecret: the station's secret can't be read.
    """
    channels = channels_of(settings, secret(settings))
    names = {channel.name for channel in channels}
    known = {name for (name,) in db.execute("select name from channels")}
    if known != names:
        with transaction(db):
            _add(db, names - known, now_ms)
            _let_go(db, known - names, now_ms)
    return channels


def _add(db: Database, names: Collection[str], now_ms: int) -> None:
    for name in names:
        db.execute(
            "insert into channels (name, told)"
            " select ?, coalesce(max(id), 0) from events where at_ms < ?",
            [name, now_ms],
        )


def _let_go(db: Database, names: Collection[str], now_ms: int) -> None:
    for name in names:
        db.execute("update channels set failed_ms = null where name = ?", [name])
        db.execute(
            "delete from channels where name = ?"
            " and (select min(at_ms) from events where id > channels.told) < ?",
            [name, now_ms - FORGOTTEN_AFTER_MS],
        )


def undelivered(db: Database) -> list[str]:
    """The kinds of channels, such as ``mailto``, that could not be told at an earlier run."""
    failed = db.execute("select name from channels where failed_ms is not null")
    return sorted({scheme_of(name) for (name,) in failed})


def tell(
    db: Database, settings: Settings, now_ms: int, *, patience_s: float = PATIENCE_S
) -> list[str]:
    """Tell each channel, in one message, the events that it hasn't been told.

    Returns:
        What failed, a line each, without addresses or secrets; it is tried again at the
        next run.

    Raises:
        InvalidChannels: an address can't be understood, or names nobody.
        NoSecret: the station's secret can't be read.
        Busy: another process is at it, for longer than that should take.
        sqlite3.OperationalError: the database can't be written.
    """
    channels = enlist(db, settings, now_ms)
    with _alone(settings.db.absolute().parent, 2 * patience_s):
        deliver = partial(_deliver, db, settings, now_ms, patience_s)
        failed = deliver(_left_under_way(db, channels))
        rest = [channel for channel in channels if channel.name not in failed]
        failed |= deliver(_begin(db, rest))
    return [*failed.values()]


def tell_without_memory(
    settings: Settings, lines: Sequence[str], now_ms: int, *, patience_s: float = PATIENCE_S
) -> list[str]:
    """Tell every channel these lines, where the database can't say who knows what.

    Returns:
        What failed, a line each.

    Raises:
        InvalidChannels: an address can't be understood, or names nobody.
    """
    channels = {channel.name: channel for channel in channels_of(settings, b"")}
    host = _host(settings)
    calls = {
        name: partial(
            channel.deliver, of_lines(lines, now_ms, public_url=settings.public_url, host=host)
        )
        for name, channel in channels.items()
    }
    ended = run_with_deadline(calls, patience_s)
    return [_failure(channels[name], error) for name, error in ended if error]


def _left_under_way(db: Database, channels: Sequence[Channel]) -> list[Delivery]:
    """The messages of an earlier run that were begun, and of which no end is known."""
    return [
        Delivery(channel, told, telling, again=True)
        for channel in channels
        for told, telling in [_progress(db, channel)]
        if telling is not None
    ]


def _begin(db: Database, channels: Sequence[Channel]) -> list[Delivery]:
    """The messages that tell what is new, noted as under way."""
    newest: int = db.execute("select coalesce(max(id), 0) from events").fetchone()[0]
    behind = [(channel, _progress(db, channel)[0]) for channel in channels]
    begun = [Delivery(one, told, newest, again=False) for one, told in behind if told < newest]
    if begun:
        with transaction(db):
            for one in begun:
                db.execute(
                    "update channels set telling = ? where name = ?", [newest, one.channel.name]
                )
    return begun


def _progress(db: Database, channel: Channel) -> tuple[int, int | None]:
    query = "select told, telling from channels where name = ?"
    told, telling = db.execute(query, [channel.name]).fetchone()
    return told, telling


def _deliver(
    db: Database,
    settings: Settings,
    now_ms: int,
    patience_s: float,
    deliveries: Sequence[Delivery],
) -> dict[str, str]:
    """Send messages side by side, and note what became of each; failures by channel."""
    by_name = {delivery.channel.name: delivery for delivery in deliveries}
    calls = {name: _call(db, settings, delivery) for name, delivery in by_name.items()}
    ended = run_with_deadline(calls, patience_s)
    noted = ((name, _note(db, by_name[name], error, now_ms)) for name, error in ended)
    return {name: failure for name, failure in noted if failure}


def _call(db: Database, settings: Settings, delivery: Delivery) -> Callable[[], None]:
    """What sends the message, or does nothing where there is nothing to tell."""
    message = of_events(
        db,
        delivery.after,
        delivery.last,
        public_url=settings.public_url,
        sender=f"{delivery.channel.hash}@{_host(settings)}",
    )
    return partial(delivery.channel.deliver, message) if message else lambda: None


def _host(settings: Settings) -> str:
    return urlsplit(settings.public_url).hostname or host_name()


def _note(db: Database, delivery: Delivery, error: Exception | None, now_ms: int) -> str | None:
    """Keep what became of a message; what people are shown of it if it failed."""
    label, name = delivery.channel.label, delivery.channel.name
    if error is None:
        query = "update channels set told = ?, telling = null, failed_ms = null where name = ?"
        noted = _write(db, query, [delivery.last, name])
        return None if noted else f"{label}: told, but the database can't be written: told again"
    certain = isinstance(error, Undelivered) and not error.perhaps
    telling = None if certain and not delivery.again else delivery.last
    query = "update channels set telling = ?, failed_ms = coalesce(failed_ms, ?) where name = ?"
    _write(db, query, [telling, now_ms, name])
    return _failure(delivery.channel, error)


def _write(db: Database, query: str, parameters: Sequence[object]) -> bool:
    """Run one statement, in spite of another's short transactions."""
    for _ in range(NOTING_TRIES):
        try:
            db.execute(query, [*parameters])
        except sqlite3.OperationalError:
            continue
        return True
    return False


def _failure(channel: Channel, error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"{channel.label}: not told: no answer in time"
    why = str(error) if isinstance(error, Undelivered) else type(error).__name__
    return f"{channel.label}: not told: {why}"


@contextmanager
def _alone(folder: Path, patience_s: float) -> Iterator[None]:
    """Hold others back that would tell the same, as long as this process lives.

    It is the folder that is locked: closing the database's file a second time would drop
    SQLite's own locks.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _lock(descriptor, time.monotonic() + patience_s)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise Busy("another `tmon check` is telling people; this one leaves it") from error
            time.sleep(0.05)
        else:
            return
