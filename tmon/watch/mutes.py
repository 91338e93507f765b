"""Mutes: findings that are not notified for a while."""

from typing import Any, NamedTuple

from sqlite_utils import Database

from tmon.core import humanize
from tmon.core.errors import TmonError
from tmon.db.connect import transaction
from tmon.db.lookup import find_node_uid, find_sensor
from tmon.watch.findings import CATALOGUE, Finding


class NotMuted(TmonError):
    """The mute that should end doesn't exist."""


class Scope(NamedTuple):
    """What a mute covers; None matches anything."""

    node: str | None
    sensor_id: int | None
    number: str | None


class Mutes:
    """The mutes in force at one instant."""

    def __init__(self, db: Database, now_ms: int) -> None:
        rows = db.execute(
            "select node, sensor, finding, until_ms from mutes where until_ms > ?", [now_ms]
        )
        self._mutes = [(Scope(*scope), until_ms) for *scope, until_ms in rows]

    def until_ms(self, finding: Finding) -> int | None:
        """Until when a finding is muted, or None."""
        ends = [
            until_ms
            for scope, until_ms in self._mutes
            if scope.node in (None, finding.node)
            and scope.sensor_id in (None, finding.sensor_id)
            and scope.number in (None, finding.number)
        ]
        return max(ends, default=None)


def mute(db: Database, what: str, until_ms: int, now_ms: int) -> None:
    """Mute a node, a sensor (``node/sensor``) or a finding's number; replaces an earlier mute.

    Raises:
        UnknownNode, UnknownSensor: nothing has that name.
    """
    with transaction(db):
        scope = _scope(db, what)
        _delete(db, scope)
        db.execute("delete from mutes where until_ms <= ?", [now_ms])
        db.execute(
            "insert into mutes (node, sensor, finding, until_ms) values (?, ?, ?, ?)",
            [*scope, until_ms],
        )


def end(db: Database, what: str, now_ms: int) -> None:
    """End a mute.

    Raises:
        UnknownNode, UnknownSensor: nothing has that name.
        NotMuted: exactly that wasn't muted.
    """
    with transaction(db):
        scope = _scope(db, what)
        if not _delete(db, scope, now_ms):
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


def _scope(db: Database, what: str) -> Scope:
    if what in CATALOGUE:
        return Scope(None, None, what)
    node, slash, sensor = what.partition("/")
    if slash:
        return Scope(None, find_sensor(db, node, sensor).id, None)
    find_node_uid(db, node)
    return Scope(node, None, None)


def _delete(db: Database, scope: Scope, now_ms: int = 0) -> bool:
    deleted = db.execute(
        "delete from mutes where node is ? and sensor is ? and finding is ? and until_ms > ?",
        [*scope, now_ms],
    )
    return bool(deleted.rowcount)
