"""Devices of gateways: make one a node with what it sent before; restore them from a backup."""

import shutil
from contextlib import closing
from pathlib import Path

from tmon.core import humanize
from tmon.core.reading import Batch, Node, Reading, Receipt
from tmon.core.settings import Settings
from tmon.db import nodes
from tmon.db.connect import sqlite3
from tmon.db.devices import Devices, path_beside
from tmon.db.tokens import open_station
from tmon.maintenance import snapshot
from tmon.store.commit import Store

PART = 500  # readings in one transaction: it holds the lock for some milliseconds


def adopt_device(
    settings: Settings, device_id: str, node: str, now_ms: int, *, keyless: bool
) -> Receipt:
    """Let a device be a node from now on, and store what waited of it.

    After a kill the same call goes on: a reading is forgotten only once it is stored.

    Raises:
        InvalidName: no node can be called that.
    """
    with open_station(settings) as db, closing(Devices(path_beside(settings.db))) as devices:
        known = nodes.find_or_make(db, node)
        devices.adopt(device_id, known.uid, now_ms, keyless=keyless)  # from now on none waits
        sender = Node(known.uid, known.name, known.name)
        store = Store(db)
        receipts = []
        waiting = devices.waiting(device_id)
        for start in range(0, len(waiting), PART):
            part = waiting[start : start + PART]
            readings = [
                Reading(index, one.sensor, one.value, one.unit, one.measured_ms, bool(one.timed))
                for index, one in enumerate(part)
            ]
            [receipt] = store.commit([Batch(sender, now_ms, readings)])
            receipts.append(receipt)
            devices.forget(device_id, part)
        store.flush_last_seen()
    return Receipt(
        sum(one.accepted for one in receipts),
        sum(one.duplicates for one in receipts),
        [each for one in receipts for each in one.rejected],
    )


def restore_devices(file: Path, settings: Settings, staging: Path) -> None:
    """Add the devices beside a backup that the station doesn't know.

    Raises:
        DamagedCopy: that file can't be read; the database is restored.
    """
    path = file.with_name(f"{file.name}.devices")
    if not path.is_file():
        return
    draft = staging / "devices.db"
    shutil.copyfile(path, draft)
    try:
        with (
            closing(snapshot.connect_untrusted(draft)) as backup,
            closing(Devices(path_beside(settings.db))) as devices,
        ):
            devices.add_missing(backup)
    except sqlite3.DatabaseError as error:
        why = humanize.printable(str(error))
        raise snapshot.DamagedCopy(f"{path}: {why}; the database itself is restored") from error
