"""Devices of gateways: make one a node with what it sent before; restore them from a backup."""

import os
import shutil
import stat
from contextlib import closing
from pathlib import Path

from tmon.core import humanize
from tmon.core.errors import InvalidName
from tmon.core.reading import Batch, Node, Reading, Receipt
from tmon.core.settings import Settings
from tmon.db import nodes
from tmon.db.devices import MOST_ID, Devices, is_device_id, path_beside
from tmon.db.tokens import open_station
from tmon.maintenance import snapshot
from tmon.maintenance.backup_dir import require_free_space
from tmon.store.commit import Store

PART = 500  # readings in one transaction: it holds the lock for some milliseconds


def adopt_device(
    settings: Settings, device_id: str, node: str, now_ms: int, *, keyless: bool
) -> Receipt:
    """Let a device be a node from now on, and store what waited of it.

    After a kill the same call goes on: a reading is forgotten only once it is stored.

    Raises:
        InvalidName: no node, or no device, can be called that.
    """
    if not is_device_id(device_id):
        raise InvalidName(f"a device's id must be 1 to {MOST_ID} printable characters")
    with open_station(settings) as db, closing(Devices(path_beside(settings.db))) as devices:
        known = nodes.find_or_make(db, node)
        devices.adopt(device_id, known.uid, now_ms, keyless=keyless)  # from now on none waits
        sender = Node(known.uid, known.name, known.name)
        store = Store(db)
        receipts = []
        waiting = devices.waiting(device_id)
        for start in range(0, len(waiting), PART):
            part = waiting[start : start + PART]
            # With its time of arrival as its time, so that none is stored again after a kill.
            readings = [
                Reading(index, one.sensor, one.value, one.unit, one.measured_ms)
                for index, one in enumerate(part)
            ]
            [receipt] = store.commit([Batch(sender, now_ms, readings)])
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
            devices.add_missing(backup)
    except snapshot.UNREADABLE as error:
        raise _not_restored(path, humanize.printable(str(error))) from error


def _not_restored(path: Path, why: str) -> snapshot.DamagedCopy:
    return snapshot.DamagedCopy(f"{path}: {why}; the database itself is restored")
