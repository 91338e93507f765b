"""Mutes: about what nobody is told for a while."""

from typing import Any, NamedTuple

from sqlite_utils import Database

from tmon.core import humanize
from tmon.core.errors import TmonError
from tmon.db.connect import transaction
from tmon.db.lookup import find_node, find_sensor
from tmon.watch.findings import CATALOGUE


class NotMuted(TmonError):
    """Nothing mutes what should be heard again."""


class Mute(NamedTuple):
    """One of them; what is None is any."""

    node: str | None
    sensor: int | None
    number: str | None
    until_ms: int = 0

    def covers(self, number: str, node: str | None, sensor: int | None) -> bool:
        """Whether a finding of that number, about that node and sensor, is muted."""
        return (
            self.node in (None, node)
            and self.sensor in (None, sensor)
            and self.number in (None, number)
        )


class Mutes:
    """Those that hold at one instant."""

    def __init__(self, db: Database, now_ms: int) -> None:
        rows = db.execute(
            "select node, sensor, finding, until_ms from mutes where until_ms > ?", [now_ms]
        )
        self._mutes = [Mute(*row) for row in rows]

    def until_ms(self, number: str, node: str | None, sensor: int | None) -> int | None:
        """Until when nobody is told of such a finding; None: it is told."""
        ends = [one.until_ms for one in self._mutes if one.covers(number, node, sensor)]
        return max(ends, default=None)


def mute(db: Database, what: str, until_ms: int, now_ms: int) -> None:
    """Mute a node, a sensor (``node/sensor``) or a number of findings, in place of before.

    Raises:
        UnknownNode, UnknownSensor: there is nothing of that name.
    """
    subject = _subject(db, what)
    with transaction(db):
        _forget(db, subject)
        db.execute("delete from mutes where until_ms <= ?", [now_ms])
        db.execute(
            "insert into mutes (node, sensor, finding, until_ms) values (?, ?, ?, ?)",
            [*subject[:3], until_ms],
        )


def end(db: Database, what: str, now_ms: int) -> None:
    """Let it be told again.

    Raises:
        UnknownNode, UnknownSensor: there is nothing of that name.
        NotMuted: it was not muted by itself.
    """
    subject = _subject(db, what)
    with transaction(db):
        if not _forget(db, subject, now_ms):
            raise NotMuted(f"{what} is not muted; `tmon mute --list` shows what is")


def listed(db: Database, now_ms: int) -> list[dict[str, Any]]:
    """What is muted, and until when."""
    rows = db.execute(
        """
        select coalesce(mutes.node, sensors.node || '/' || sensors.name, finding), until_ms
        from mutes left join sensors on sensors.id = mutes.sensor
        where until_ms > ? order by until_ms
        """,
        [now_ms],
    )
    return [{"what": what, "until": humanize.instant(until_ms)} for what, until_ms in rows]


def _subject(db: Database, what: str) -> Mute:
    if what in CATALOGUE:
        return Mute(None, None, what)
    node, slash, sensor = what.partition("/")
    if slash:
        return Mute(None, find_sensor(db, node, sensor).id, None)
    find_node(db, node)
    return Mute(node, None, None)


def _forget(db: Database, subject: Mute, now_ms: int = 0) -> bool:
    deleted = db.execute(
        "delete from mutes where node is ? and sensor is ? and finding is ? and until_ms > ?",
        [*subject[:3], now_ms],
    )
    return bool(deleted.rowcount)
