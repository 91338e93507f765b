"""Measurements that devices number: each keeps the time at which it came first."""

from collections.abc import Mapping

from tmon.db.devices import Devices

MOST_NUMBERED = 20_000  # measurements whose number is remembered
NUMBERED_MS = 3_600_000  # how long; a device that begins anew after that has new measurements

_SCHEMA = """
    create table if not exists numbered ( -- measurements that devices number, of the last hour
        device text not null,
        number integer not null,
        measured_ms integer not null,
        noted_ms integer not null,
        primary key (device, number)
    ) strict, without rowid;
"""

Number = tuple[str, int]  # a device's id, and its number of a measurement


def first_times(devices: Devices, measured: Mapping[Number, int], now_ms: int) -> dict[Number, int]:
    """Note the times of measurements; return the first times of those that were noted before.

    A device repeats a measurement, with its number, until it makes the next.
    """
    select = "select measured_ms from numbered where device = ? and number = ?"
    repeated = {}
    devices.conn.execute(_SCHEMA)
    with devices.transaction():
        for number, measured_ms in measured.items():
            first = devices.conn.execute(select, number).fetchone()
            if first is not None and abs(measured_ms - first[0]) < NUMBERED_MS:
                repeated[number] = int(first[0])
            else:
                row = [*number, measured_ms, now_ms]
                devices.conn.execute("replace into numbered values (?, ?, ?, ?)", row)
        devices.conn.execute("delete from numbered where noted_ms < ?", [now_ms - NUMBERED_MS])
        devices.conn.execute(
            "delete from numbered where (device, number) in (select device, number"
            " from numbered order by noted_ms desc limit -1 offset ?)",
            [MOST_NUMBERED],
        )
    return repeated
