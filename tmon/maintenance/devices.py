"""Devices of gateways: make one a node with what it sent before; restore them from a backup."""

import os
import shutil
import stat
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from tmon.core import humanize
from tmon.core.reading import Batch, Node, Receipt
from tmon.core.settings import Settings
from tmon.core.time import iso_sql
from tmon.core.units import quantity_of
from tmon.db import nodes
from tmon.db.connect import open_migrated_for_reading
from tmon.db.device_decisions import check_id
from tmon.db.devices import (
    PART,
    Devices,
    UnknownDevice,
    path_beside,
    timed,
)
from tmon.db.devices_restore import add_missing
from tmon.db.tokens import open_station
from tmon.maintenance import snapshot
from tmon.maintenance.backup_dir import require_free_space
from tmon.store.commit import Store


def listed(settings: Settings) -> list[dict[str, Any]]:
    """The devices that were heard, the newest first: whose node each is, and its last values."""
    path = path_beside(settings.db)
    query = (
        f"select name, {iso_sql('last_received_ms')}, (select group_concat("
        " name || ' ' || value || coalesce(' ' || nullif(unit, ''), ''), ', ') from ("
        "  select name, value, unit from latest where node = nodes.name order by name limit 20))"
        " from nodes where uid = ?"
    )
    with open_migrated_for_reading(settings.db) as db:
        if not path.exists():
            return []
        with closing(Devices(path)) as devices:
            rows = devices.listed()
        for row in rows:
            uid, ignored = row.pop("node_uid"), row.pop("ignored")
            row["node"] = "ignored" if ignored else None
            if found := db.execute(query, [uid]).fetchone():
                row["node"], last_at, row["last_values"] = found
                row["last_heard_at"] = max(row["last_heard_at"], last_at or "")
    return sorted(rows, key=lambda row: str(row["last_heard_at"]), reverse=True)


def set_quantities(
    settings: Settings, quantities: Mapping[tuple[str, str], str]
) -> dict[tuple[str, str], str]:
    """Set what sensors measure, by their device and its name for them; returns those that exist.

    What the owner has set by `tmon sensor set` stays: only what the unit tells is replaced.
    """
    path = path_beside(settings.db)
    if not path.exists():
        return {}
    done = {}
    with open_station(settings) as db, closing(Devices(path)) as devices:
        for (device_id, wire_name), quantity in quantities.items():
            device = devices.known(device_id)
            found = db.execute(
                "select id, unit, quantity from sensors where id = (select sensor from sensor_names"
                " where node_uid = ? and wire_name = ?)",
                [device and device.node_uid, wire_name],
            ).fetchone()
            if found is None:
                continue
            sensor, unit, present = found
            if present in (None, quantity_of(wire_name, unit)):
                db.execute("update sensors set quantity = ? where id = ?", [quantity, sensor])
            done[device_id, wire_name] = quantity
    return done


def require_heard(settings: Settings, device_id: str) -> None:
    """Check that a device was heard: else its id may be mistyped.

    Raises:
        UnknownDevice: it wasn't.
    """
    path = path_beside(settings.db)
    if path.exists():
        with closing(Devices(path)) as devices:
            if devices.known(device_id) is not None:
                return
    raise UnknownDevice(
        f"no device {device_id!r} was heard; `tmon device list` shows those that were, "
        "and with --unheard it is adopted before it sends"
    )


def adopt_device(
    settings: Settings, device_id: str, node: str, now_ms: int, *, keyless: bool
) -> Receipt:
    """Let a device be a node from now on, and store what waited of it.

    After a kill the same call goes on: a reading is forgotten only once it is stored.

    Raises:
        InvalidName: no node, or no device, can be called that.
    """
    check_id(device_id)
    with open_station(settings) as db, closing(Devices(path_beside(settings.db))) as devices:
        known = nodes.find_or_make(db, node)
        devices.adopt(device_id, known.uid, now_ms, keyless=keyless)  # from now on none waits
        sender = Node(known.uid, known.name, known.name)
        store = Store(db)
        receipts = []
        waiting = devices.waiting(device_id)
        for start in range(0, len(waiting), PART):
            part = waiting[start : start + PART]
            [receipt] = store.commit([Batch(sender, now_ms, timed(part))])
            receipts.append(receipt)
            devices.forget(device_id, part)
        store.flush_last_seen()
    return Receipt.merged(receipts)


def restore_devices(file: Path, settings: Settings, staging: Path) -> None:
    """Add the devices beside a backup that the station doesn't know.

    Raises:
        DamagedCopy: that file can't be read; the database is restored.
    """
    path = file.with_name(f"{file.name}.devices")
    draft = staging / "devices.db"
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _not_restored(path, f"{error.strerror}; a file is expected, and no link") from error
    with os.fdopen(opened, "rb") as source, draft.open("xb") as copy:
        status = os.fstat(opened)
        if not stat.S_ISREG(status.st_mode):
            raise _not_restored(path, "a file is expected")
        require_free_space(staging, status.st_size)
        shutil.copyfileobj(source, copy)
    try:
        with (
            closing(snapshot.connect_untrusted(draft)) as backup,
            closing(Devices(path_beside(settings.db))) as devices,
        ):
            add_missing(devices, backup)
    except snapshot.UNREADABLE as error:
        raise _not_restored(path, humanize.printable(str(error))) from error


def _not_restored(path: Path, why: str) -> snapshot.DamagedCopy:
    return snapshot.DamagedCopy(f"{path}: {why}; the database itself is restored")
