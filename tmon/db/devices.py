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
from tmon.core.names import is_sensor_name
from tmon.core.reading import EARLIEST_MS
from tmon.core.time import iso_sql
from tmon.db.connect import BUSY_TIMEOUT_S, chown_to_dir_owner, sqlite3

Connection = sqlite3.Connection

MOST_DEVICES = 1_000  # that wait; then the one that was heard longest ago is forgotten
MOST_READINGS = 10_000  # of each that wait; then its oldest are forgotten
MOST_ID = 128  # characters of a device's id
MODE = 0o600
LATEST_MS = 253_402_300_799_999  # the end of the year 9999

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
        self._conn = sqlite3.connect(str(path), isolation_level=None, timeout=BUSY_TIMEOUT_S)
        try:
            self._conn.execute("pragma journal_mode = wal")
            self._conn.execute("pragma foreign_keys = on")
            self._conn.executescript(_SCHEMA)
            self._status = path.stat()
        except BaseException:
            self._conn.close()
            raise

    def close(self) -> None:
        self._conn.close()

    def is_at(self, path: Path) -> bool:
        """Whether the file that is open is still there: what is written to it would be lost."""
        try:
            return os.path.samestat(self._status, path.stat())
        except FileNotFoundError:
            return False

    def has_node(self, node_uid: str) -> bool:
        """Whether some device is that node."""
        query = "select 1 from devices where node_uid = ?"
        return self._conn.execute(query, [node_uid]).fetchone() is not None

    def known(self, device_id: str) -> Device | None:
        """What was decided about a device; None where it was never heard nor decided upon."""
        query = "select id, node_uid, ignored, keyless from devices where id = ?"
        row = self._conn.execute(query, [device_id]).fetchone()
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
        with self._transaction():
            known = self.known(device_id)
            if known is not None and known != (decided or Device(device_id)):
                return False
            self._hear(gateway, device_id, received_ms)
            for one in readings:
                # Two readings without a time that arrive in one millisecond are two readings.
                at_ms = one.measured_ms if one.timed else self._free_ms(device_id, one)
                self._conn.execute(
                    "insert or ignore into waiting values (?, ?, ?, ?, ?, ?)",
                    [device_id, one.sensor, at_ms, one.value, one.unit, one.timed],
                )
            self._conn.execute(
                "delete from waiting where device = ? and (sensor, measured_ms) in ("
                " select sensor, measured_ms from waiting where device = ?"
                " order by measured_ms desc limit -1 offset ?)",
                [device_id, device_id, MOST_READINGS],
            )
        return True

    def _free_ms(self, device_id: str, reading: Waiting) -> int:
        """The time of arrival, or the next millisecond at which the sensor has no reading."""
        at_ms = reading.measured_ms
        query = "select 1 from waiting where device = ? and sensor = ? and measured_ms = ?"
        while self._conn.execute(query, [device_id, reading.sensor, at_ms]).fetchone():
            at_ms += 1
        return at_ms

    def adopt(self, device_id: str, node_uid: str, now_ms: int, *, keyless: bool = False) -> None:
        """Let a device's readings be a node's from now on, also of one that wasn't heard yet.

        ``keyless``: take them without a key, by the device's id alone.
        """
        with self._transaction():
            self._hear("", device_id, now_ms)
            self._conn.execute(
                "update devices set node_uid = ?, ignored = 0, keyless = max(keyless, ?)"
                " where id = ?",
                [node_uid, keyless, device_id],
            )

    def ignore(self, device_id: str) -> None:
        """Throw away what a device sends from now on, and what waits of it.

        Raises:
            UnknownDevice: none with that id was heard.
        """
        with self._transaction():
            query = "update devices set ignored = 1, node_uid = null, keyless = 0 where id = ?"
            if self._conn.execute(query, [device_id]).rowcount == 0:
                raise UnknownDevice(f"no device {device_id!r} was heard; see `tmon device list`")
            self._conn.execute("delete from waiting where device = ?", [device_id])

    def waiting(self, device_id: str) -> list[Waiting]:
        """What waits of a device, oldest first."""
        query = (
            "select sensor, measured_ms, value, unit, timed from waiting"
            " where device = ? order by measured_ms, sensor"
        )
        rows = self._conn.execute(query, [device_id])
        return [Waiting(*row) for row in rows]

    def forget(self, device_id: str, readings: Sequence[Waiting]) -> None:
        """Forget readings that are stored now."""
        with self._transaction():
            self._conn.executemany(
                "delete from waiting where device = ? and sensor = ? and measured_ms = ?",
                [(device_id, one.sensor, one.measured_ms) for one in readings],
            )

    def add_missing(self, backup: Connection) -> None:
        """Add the devices of another such file, and what waits of them; change no other.

        That file may come from anywhere: what ingest wouldn't have kept isn't added.

        Raises:
            sqlite3.DatabaseError: it is no such file.
        """
        schema = "select type, name, sql from sqlite_master where type <> 'index' order by name"
        if backup.execute(schema).fetchall() != self._conn.execute(schema).fetchall():
            raise sqlite3.DatabaseError("its tables are not as tmon makes them")
        columns = "id, gateway, node_uid, ignored, keyless, first_ms, last_ms"
        sound = f"length(id) <= {MOST_ID} and length(gateway) <= 64 and length(node_uid) <= 64"
        for row in backup.execute(f"select {columns} from devices where {sound} is not 0"):
            if not is_device_id(row[0]) or not row[1].isprintable() or self.known(row[0]):
                continue
            query = f"insert into devices ({columns}) values (?, ?, ?, ?, ?, ?, ?)"
            waiting = backup.execute(
                "select device, sensor, measured_ms, value, unit, timed from waiting"
                " where device = ? and length(sensor) <= 64 and length(unit) <= 32 is not 0"
                " and abs(value) <= 1e30 and measured_ms between ? and ?"
                " order by measured_ms desc limit ?",
                [row[0], EARLIEST_MS, LATEST_MS, MOST_READINGS],
            ).fetchall()
            with self._transaction():
                self._conn.execute(query, row)
                self._conn.executemany(
                    "insert into waiting values (?, ?, ?, ?, ?, ?)",
                    [one for one in waiting if is_sensor_name(one[1])],
                )

    def listed(self) -> list[dict[str, Any]]:
        """Each device, what was decided about it, and the last values of those that wait."""
        self._conn.row_factory = sqlite3.Row
        try:
            rows = self._conn.execute(f"""
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
            self._conn.row_factory = None
        return [dict(row) for row in rows]

    def _hear(self, gateway: str, device_id: str, now_ms: int) -> None:
        self._conn.execute(
            "insert into devices (id, gateway, first_ms, last_ms) values (?, ?, ?, ?)"
            " on conflict (id) do update set last_ms = excluded.last_ms,"
            " gateway = iif(excluded.gateway = '', gateway, excluded.gateway)",
            [device_id, gateway, now_ms, now_ms],
        )
        self._conn.execute(
            "delete from devices where id in (select id from devices where node_uid is null"
            " and not ignored order by id = ? desc, last_ms desc limit -1 offset ?)",
            [device_id, MOST_DEVICES],  # not this one, even if the clock was set back
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._conn.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._conn.execute("rollback")
            raise
        self._conn.execute("commit")
