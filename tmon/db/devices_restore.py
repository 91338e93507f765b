"""Devices from a backup of their file."""

from tmon.core.names import is_sensor_name
from tmon.core.reading import EARLIEST_MS
from tmon.core.time import LAST_MS
from tmon.db.connect import sqlite3
from tmon.db.devices import MOST_ID, MOST_READINGS, Connection, Devices, is_device_id


def add_missing(devices: Devices, backup: Connection) -> None:
    """Add the devices of another such file, and what waits of them; change no other.

    That file may come from anywhere: what ingest wouldn't have kept isn't added.

    Raises:
        sqlite3.DatabaseError: it is no such file.
    """
    schema = "select type, name, sql from sqlite_master where type <> 'index' order by name"
    if backup.execute(schema).fetchall() != devices.conn.execute(schema).fetchall():
        raise sqlite3.DatabaseError("its tables are not as tmon makes them")
    columns = "id, gateway, node_uid, ignored, keyless, first_ms, last_ms"
    sound = f"length(id) <= {MOST_ID} and length(gateway) <= 64 and length(node_uid) <= 64"
    for row in backup.execute(f"select {columns} from devices where {sound} is not 0"):
        if not is_device_id(row[0]) or not row[1].isprintable() or devices.known(row[0]):
            continue
        query = f"insert into devices ({columns}) values (?, ?, ?, ?, ?, ?, ?)"
        waiting = backup.execute(
            "select device, sensor, measured_ms, value, unit, timed from waiting"
            " where device = ? and length(sensor) <= 64 and length(unit) <= 32 is not 0"
            " and abs(value) <= 1e30 and measured_ms between ? and ?"
            " order by measured_ms desc limit ?",
            [row[0], EARLIEST_MS, LAST_MS, MOST_READINGS],
        ).fetchall()
        with devices.transaction():
            devices.conn.execute(query, row)
            devices.conn.executemany(
                "insert into waiting values (?, ?, ?, ?, ?, ?)",
                [one for one in waiting if is_sensor_name(one[1])],
            )
