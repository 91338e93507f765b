"""What the owner has decided about devices, as the machines of a station tell each other."""

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from tmon.core.errors import InvalidName
from tmon.db.devices import MOST_ID, Devices, is_device_id, path_beside

_COLUMNS = "id, gateway, node_uid, ignored, keyless"


class Decision(NamedTuple):
    """A device's node, or that it is ignored; neither, if nothing is decided any more.

    ``keyless``: its id alone is taken, without any key.
    """

    id: str
    gateway: str = ""
    node_uid: str | None = None
    ignored: int = 0
    keyless: int = 0

    @property
    def is_made(self) -> bool:
        """Whether something is decided."""
        return bool(self.node_uid or self.ignored)


def check_id(device_id: str) -> None:
    """Check that a device can have that id.

    Raises:
        InvalidName: it can't.
    """
    if not is_device_id(device_id):
        raise InvalidName(f"a device's id must be 1 to {MOST_ID} printable characters")


def all_beside(db: Path) -> list[Decision]:
    """What stands in the devices' file beside a database."""
    return [one for one in _rows_beside(db) if one.is_made]


def heard_beside(db: Path, device_id: str) -> Decision | None:
    """What stands there of one device; None where it was never heard."""
    return next(iter(_rows_beside(db, "where id = ?", device_id)), None)


def _rows_beside(db: Path, where: str = "", *parameters: str) -> list[Decision]:
    path = path_beside(db)
    if not path.exists():
        return []
    with closing(Devices(path)) as devices:
        rows = devices.conn.execute(f"select {_COLUMNS} from devices {where}", parameters)
        return [Decision(*row) for row in rows]


def write(devices: Devices, decisions: Iterable[Decision], now_ms: int) -> None:
    """Write what was decided; what waits of a device is removed if it is ignored or forgotten."""
    with devices.transaction():
        _write(devices, decisions, now_ms)


def write_all(devices: Devices, decisions: Iterable[Decision], now_ms: int) -> None:
    """Let a devices' file have these decisions and no others; what waits stays."""
    with devices.transaction():
        devices.conn.execute("update devices set node_uid = null, ignored = 0, keyless = 0")
        _write(devices, decisions, now_ms)
        devices.conn.execute(
            "delete from devices where node_uid is null and not ignored"
            " and id not in (select device from waiting)"
        )


def _write(devices: Devices, decisions: Iterable[Decision], now_ms: int) -> None:
    every = [*decisions]
    devices.conn.executemany(
        f"insert into devices ({_COLUMNS}, first_ms, last_ms) values (?, ?, ?, ?, ?, ?, ?)"
        " on conflict (id) do update set node_uid = excluded.node_uid,"
        " ignored = excluded.ignored, keyless = excluded.keyless,"
        " gateway = iif(excluded.gateway = '', gateway, excluded.gateway)",
        [(*one, now_ms, now_ms) for one in every if one.is_made],
    )
    devices.conn.executemany(
        "delete from waiting where device = ?", [(one.id,) for one in every if one.ignored]
    )
    devices.conn.executemany(
        "delete from devices where id = ?", [(one.id,) for one in every if not one.is_made]
    )
