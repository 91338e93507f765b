"""Devices that gateways have heard: whose node each is, and what waits until the owner decides.

They stand in a file of their own, ``tmon.devices.db`` beside the database, which isn't published:
a neighbour's sensors are nobody's business. It is bounded: so many devices, and so many readings
of each.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from tmon.core.errors import TmonError
from tmon.core.reading import Reading
from tmon.core.time import iso_sql
from tmon.db.connect import BUSY_TIMEOUT_S, chown_to_dir_owner, sqlite3
from tmon.db.sqlite_errors import DAMAGED_CODES, DEVICES_DAMAGED, primary_code

Connection = sqlite3.Connection

MOST_DEVICES = 1_000  # that wait; then the one that was heard longest ago is forgotten
MOST_READINGS = 10_000  # of each that wait; then its oldest are forgotten
PART = 500  # that are stored in one transaction: it holds the lock for some milliseconds
MOST_ID = 128  # characters of a device's id
MODE = 0o600

_SCHEMA = """
    create table if not exists devices (
        id text primary key not null,
        gateway text not null,
        node_uid text,
        ignored integer not null default 0,
        keyless integer not null default 0, -- its id alone is taken, without any key
        first_ms integer not null,
        last_ms integer not null
    ) strict;
    create table if not exists waiting (
        device text not null references devices (id) on delete cascade,
        sensor text not null,
        measured_ms integer not null,
        value real not null,
        unit text,
        timed integer not null,
        primary key (device, sensor, measured_ms)
    ) strict, without rowid;
"""


class UnknownDevice(TmonError):
    """No device with that id was heard."""


class Device(Struct, frozen=True):
    """What the owner has decided about a device: nothing yet, its node, or to ignore it."""

    id: str
    node_uid: str | None = None
    ignored: bool = False
    keyless: bool = False


class Waiting(Struct, frozen=True):
    """A reading of a device that isn't adopted."""

    sensor: str
    measured_ms: int
    value: float
    unit: str | None
    timed: int  # 0: measured_ms is the time of arrival


def timed(readings: Iterable[Waiting]) -> list[Reading]:
    """What waited, to be stored: with its time of arrival as its time.

    So it is stored once, also if it is stored again after a kill.
    """
    return [
        Reading(index, one.sensor, one.value, one.unit, one.measured_ms)
        for index, one in enumerate(readings)
    ]


def is_device_id(text: str) -> bool:
    """Whether a device can have that id."""
    return 0 < len(text) <= MOST_ID and text.isprintable()


def path_beside(db: Path) -> Path:
    """The devices' file of a station: ``tmon.devices.db`` for ``tmon.db``."""
    return db.with_name(f"{db.stem}.devices{db.suffix}")


class Devices:
    """Owns a connection to the devices' file; creates the file. Use it in one thread."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            created = os.open(path, os.O_WRONLY | os.O_CREAT, MODE)
            chown_to_dir_owner(created, path)
            os.close(created)
        self.conn = sqlite3.connect(str(path), isolation_level=None, timeout=BUSY_TIMEOUT_S)
        try:
            self.conn.execute("pragma journal_mode = wal")
            self.conn.execute("pragma foreign_keys = on")
            self.conn.executescript(_SCHEMA)
            self._status = path.stat()
        except BaseException as error:
            self.conn.close()
            if isinstance(error, sqlite3.DatabaseError) and primary_code(error) in DAMAGED_CODES:
                raise sqlite3.DatabaseError(f"{path} is damaged; {DEVICES_DAMAGED}") from error
            raise

    def close(self) -> None:
        self.conn.close()

    def is_at(self, path: Path) -> bool:
        """Whether the file that is open is still there: what is written to it would be lost."""
        try:
            return os.path.samestat(self._status, path.stat())
        except FileNotFoundError:
            return False

    def has_node(self, node_uid: str) -> bool:
        """Whether some device is that node."""
        query = "select 1 from devices where node_uid = ?"
        return self.conn.execute(query, [node_uid]).fetchone() is not None

    def adopted_of(self, gateway: str) -> int:
        """How many devices of a gateway are nodes."""
        query = "select count(*) from devices where gateway = ? and node_uid is not null"
        return int(self.conn.execute(query, [gateway]).fetchone()[0])

    def adopted_that_wait(self) -> list[str]:
        """The devices that are nodes, and of which readings wait all the same."""
        query = (
            "select id from devices where node_uid is not null"
            " and exists (select 1 from waiting where device = id)"
        )
        return [one for (one,) in self.conn.execute(query)]

    def known(self, device_id: str) -> Device | None:
        """What was decided about a device; None where it was never heard nor decided upon."""
        query = "select id, node_uid, ignored, keyless from devices where id = ?"
        row = self.conn.execute(query, [device_id]).fetchone()
        return None if row is None else Device(row[0], row[1], bool(row[2]), bool(row[3]))

    def keep(
        self,
        gateway: str,
        device_id: str,
        readings: Iterable[Waiting],
        received_ms: int,
        decided: Device | None = None,
    ) -> bool:
        """Keep readings of a device that isn't adopted: the newest 10,000 of it.

        Returns:
            False, and none is kept, if the owner has decided otherwise than ``decided`` meanwhile.
        """
        with self.transaction():
            known = self.known(device_id)
            if known is not None and known != (decided or Device(device_id)):
                return False
            self._hear(gateway, device_id, received_ms)
            for one in readings:
                # Two readings without a time that arrive in one millisecond are two readings.
                at_ms = one.measured_ms if one.timed else self._free_ms(device_id, one)
                self.conn.execute(
                    "insert or ignore into waiting values (?, ?, ?, ?, ?, ?)",
                    [device_id, one.sensor, at_ms, one.value, one.unit, one.timed],
                )
            self.conn.execute(
                "delete from waiting where device = ? and (sensor, measured_ms) in ("
                " select sensor, measured_ms from waiting where device = ?"
                " order by measured_ms desc limit -1 offset ?)",
                [device_id, device_id, MOST_READINGS],
            )
        return True

    def conflicts(self, device_id: str, readings: Sequence[Waiting]) -> Iterator[tuple[int, float]]:
        """The places of readings at whose time another value was kept, and that value."""
        query = "select value from waiting where device = ? and sensor = ? and measured_ms = ?"
        for place, one in enumerate(readings):
            row = self.conn.execute(query, [device_id, one.sensor, one.measured_ms]).fetchone()
            if one.timed and row is not None and row[0] != one.value:
                yield place, row[0]

    def _free_ms(self, device_id: str, reading: Waiting) -> int:
        """The time of arrival, or the next millisecond at which the sensor has no reading."""
        at_ms = reading.measured_ms
        query = "select 1 from waiting where device = ? and sensor = ? and measured_ms = ?"
        while self.conn.execute(query, [device_id, reading.sensor, at_ms]).fetchone():
            at_ms += 1
        return at_ms

    def adopt(
        self,
        device_id: str,
        node_uid: str,
        now_ms: int,
        *,
        gateway: str = "",
        keyless: bool = False,
    ) -> None:
        """Let a device's readings be a node's from now on, also of one that wasn't heard yet.

        ``keyless``: take them without a key, by the device's id alone.
        """
        with self.transaction():
            self._hear(gateway, device_id, now_ms)
            self.conn.execute(
                "update devices set node_uid = ?, ignored = 0, keyless = max(keyless, ?)"
                " where id = ?",
                [node_uid, keyless, device_id],
            )

    def ignore(self, device_id: str) -> None:
        """Throw away what a device sends from now on, and what waits of it.

        Raises:
            UnknownDevice: none with that id was heard.
        """
        with self.transaction():
            query = "update devices set ignored = 1, node_uid = null, keyless = 0 where id = ?"
            if self.conn.execute(query, [device_id]).rowcount == 0:
                raise UnknownDevice(f"no device {device_id!r} was heard; see `tmon device list`")
            self.conn.execute("delete from waiting where device = ?", [device_id])

    def remove(self, device_id: str) -> None:
        """Forget a device, what was decided about it, and what waits of it.

        Raises:
            UnknownDevice: none with that id was heard.
        """
        with self.transaction():
            query = "delete from devices where id = ?"
            if self.conn.execute(query, [device_id]).rowcount == 0:
                raise UnknownDevice(f"no device {device_id!r} was heard; see `tmon device list`")

    def waiting(self, device_id: str, most: int = MOST_READINGS) -> list[Waiting]:
        """What waits of a device, oldest first."""
        query = (
            "select sensor, measured_ms, value, unit, timed from waiting"
            " where device = ? order by measured_ms, sensor limit ?"
        )
        rows = self.conn.execute(query, [device_id, most])
        return [Waiting(*row) for row in rows]

    def forget(self, device_id: str, readings: Sequence[Waiting]) -> None:
        """Forget readings that are stored now."""
        with self.transaction():
            self.conn.executemany(
                "delete from waiting where device = ? and sensor = ? and measured_ms = ?",
                [(device_id, one.sensor, one.measured_ms) for one in readings],
            )

    def listed(self) -> list[dict[str, Any]]:
        """Each device, what was decided about it, and the last values of those that wait."""
        self.conn.row_factory = sqlite3.Row
        try:
            rows = self.conn.execute(f"""
                select id, gateway, node_uid, ignored, {iso_sql("first_ms")} as first_heard_at,
                    {iso_sql("last_ms")} as last_heard_at, (
                        select group_concat(
                            sensor || ' ' || value || coalesce(' ' || nullif(unit, ''), ''), ', ')
                        from (select sensor, value, unit, max(measured_ms) from waiting
                              where device = devices.id group by sensor order by sensor limit 20)
                    ) as last_values
                from devices order by last_ms desc, id
            """).fetchall()
        finally:
            self.conn.row_factory = None
        return [dict(row) for row in rows]

    def _hear(self, gateway: str, device_id: str, now_ms: int) -> None:
        self.conn.execute(
            "insert into devices (id, gateway, first_ms, last_ms) values (?, ?, ?, ?)"
            " on conflict (id) do update set last_ms = excluded.last_ms,"
            " gateway = iif(excluded.gateway = '', gateway, excluded.gateway)",
            [device_id, gateway, now_ms, now_ms],
        )
        self.conn.execute(
            "delete from devices where id in (select id from devices where node_uid is null"
            " and not ignored order by id = ? desc, last_ms desc limit -1 offset ?)",
            [device_id, MOST_DEVICES],  # not this one, even if the clock was set back
        )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing of what happens within."""
        self.conn.execute("begin immediate")
        try:
            yield
        except BaseException:
            self.conn.execute("rollback")
            raise
        self.conn.execute("commit")
