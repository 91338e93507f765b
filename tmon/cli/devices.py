"""`tmon device list|adopt|allow|ignore`."""

from contextlib import closing

import click

from tmon.cli.options import as_json, show, station, takes, takes_station
from tmon.core.errors import TmonError
from tmon.core.time import now_ms
from tmon.db.connect import open_migrated_for_reading
from tmon.db.devices import Devices, path_beside
from tmon.maintenance.devices import adopt_device


@click.group()
def device() -> None:
    """Devices that gateways hear: whose node each is."""


@device.command("list")
@as_json
@takes("db")
def list_(as_json: bool, **flags: str | None) -> None:
    """List the devices that were heard, the newest first, with their last values.

    \b
    Examples:
      tmon device list
      tmon device list --json
    """
    settings = station(flags)
    path = path_beside(settings.db)
    with open_migrated_for_reading(settings.db) as db:
        names = dict(db.execute("select uid, name from nodes").fetchall())
    rows = []
    if path.exists():
        with closing(Devices(path)) as devices:
            rows = devices.listed()
    for row in rows:
        uid, ignored = row.pop("node_uid"), row.pop("ignored")
        row["node"] = names.get(uid) if uid else ("ignored" if ignored else None)
    show(rows, as_json=as_json)


@device.command("adopt")
@click.argument("device_id", metavar="ID")
@click.argument("node")
@takes_station
def adopt(device_id: str, node: str, **flags: str | None) -> None:
    """Let the device ID be NODE from now on; what it sent since it was first heard comes along.

    \b
    Example:
      tmon device adopt A4:C1:38:12:34:56 freezer
    """
    _adopt(device_id, node, flags, keyless=False)


@device.command("allow")
@click.argument("device_id", metavar="ID")
@click.argument("node")
@takes_station
def allow(device_id: str, node: str, **flags: str | None) -> None:
    """Take what the device ID sends as NODE's, without any key.

    Its id is all that it shows, so whoever knows the id can write as NODE.

    \b
    Example:
      tmon device allow esp8266-123456 balcony
    """
    _adopt(device_id, node, flags, keyless=True)


@device.command("ignore")
@click.argument("device_id", metavar="ID")
@takes("db")
def ignore(device_id: str, **flags: str | None) -> None:
    """Throw away what the device ID sends, and what waits of it.

    \b
    Example:
      tmon device ignore A4:C1:38:12:34:56
    """
    path = path_beside(station(flags).db)
    if not path.exists():
        raise TmonError("no gateway has sent anything yet")
    with closing(Devices(path)) as devices:
        devices.ignore(device_id)


def _adopt(device_id: str, node: str, flags: dict[str, str | None], *, keyless: bool) -> None:
    settings = station(flags)
    receipt = adopt_device(settings, device_id, node, now_ms(), keyless=keyless)
    text = f"{device_id} is {node}; {receipt.accepted:,} readings came along"
    if not (receipt.accepted or receipt.duplicates or receipt.rejected):
        text += "; `tmon device list` shows the ids that were heard"
    if receipt.rejected:
        text += f", {len(receipt.rejected):,} could not be stored: see the table rejected"
    click.echo(text, err=True)
