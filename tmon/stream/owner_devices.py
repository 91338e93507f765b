"""What the owner decides about gateways' devices, on a station on several machines.

Each machine's ingest writes it into its own devices' file, and stores what waits there.
"""

from tmon.core.settings import Settings
from tmon.db import nodes
from tmon.db.connect import transaction
from tmon.db.device_decisions import Decision, check_id, heard_beside
from tmon.db.devices import UnknownDevice
from tmon.stream.owner_database import OwnerDatabase, open_to_change


def adopt_device(
    settings: Settings, device_id: str, node: str, *, keyless: bool, unheard: bool
) -> None:
    """Let a device be a node from now on, on all machines.

    ``keyless``: take its readings without a key. ``unheard``: even if nothing came of it here.

    Raises:
        InvalidName: no node, or no device, can be called that.
        UnknownDevice: it wasn't heard here.
    """
    check_id(device_id)
    with open_to_change(settings) as db:
        if not unheard:
            _before(db, settings, device_id, ", or add --unheard")
        uid = nodes.find_or_make(db, node).uid
        with transaction(db):
            heard = heard_beside(settings.db, device_id) or Decision(device_id)
            before = db.decision_of(device_id) or heard
            gateway = before.gateway or heard.gateway
            db.decide(Decision(device_id, gateway, uid, 0, int(keyless or before.keyless)))


def ignore_device(settings: Settings, device_id: str) -> None:
    """Throw away what a device sends from now on, and what waits of it, on all machines.

    Raises:
        UnknownDevice: it wasn't heard here.
    """
    with open_to_change(settings) as db, transaction(db):
        before = _before(db, settings, device_id)
        db.decide(Decision(device_id, before.gateway, ignored=1))


def forget_device(settings: Settings, device_id: str) -> None:
    """Forget a device, what was decided about it, and what waits of it, on all machines.

    Raises:
        UnknownDevice: it wasn't heard here.
    """
    with open_to_change(settings) as db, transaction(db):
        _before(db, settings, device_id)
        db.decide(Decision(device_id))


def _before(db: OwnerDatabase, settings: Settings, device_id: str, hint: str = "") -> Decision:
    """What is decided about a device, or that it was heard here."""
    decided = db.decision_of(device_id)
    found = decided if decided and decided.is_made else heard_beside(settings.db, device_id)
    if found is None:
        raise UnknownDevice(
            f"no device {device_id!r} was heard by this machine: do it on the one whose "
            f"`tmon device list` shows it{hint}"
        )
    return found
