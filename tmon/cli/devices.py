"""`tmon device list|adopt|allow|ignore|forget`."""

from contextlib import closing

import click

from tmon.cli.options import as_json, show, station, takes, takes_station
from tmon.core.errors import TmonError
from tmon.core.reading import Receipt
from tmon.core.settings import Settings
from tmon.core.time import now_ms
from tmon.db.devices import Devices, path_beside
from tmon.maintenance.devices import adopt_device, listed, require_heard


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
    show(listed(station(flags)), as_json=as_json)


@device.command("adopt")
@click.argument("device_id", metavar="ID")
@click.argument("node")
@click.option("--unheard", is_flag=True, help="before it has sent anything")
@takes_station
def adopt(device_id: str, node: str, *, unheard: bool, **flags: str | None) -> None:
    """Let the device ID be NODE from now on; what it sent since it was first heard comes along.

    \b
    Example:
      tmon device adopt A4:C1:38:12:34:56 freezer
    """
    _adopt(station(flags), device_id, node, keyless=False, unheard=unheard)


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
    _adopt(station(flags), device_id, node, keyless=True, unheard=True)


@device.command("ignore")
@click.argument("device_id", metavar="ID")
@takes("db")
def ignore(device_id: str, **flags: str | None) -> None:
    """Throw away what the device ID sends, and what waits of it.

    \b
    Example:
      tmon device ignore A4:C1:38:12:34:56
    """
    settings = station(flags)
    if settings.stream:
        from tmon.stream.owner_devices import ignore_device  # noqa: PLC0415 - needs nats

        ignore_device(settings, device_id)
        return
    with closing(_devices(settings)) as devices:
        devices.ignore(device_id)


@device.command("forget")
@click.argument("device_id", metavar="ID")
@takes("db")
def forget(device_id: str, **flags: str | None) -> None:
    """Forget the device ID: its next readings wait again. Its node and what it stored stay.

    \b
    Example:
      tmon device forget A4:C1:38:12:34:56
    """
    settings = station(flags)
    if settings.stream:
        from tmon.stream.owner_devices import forget_device  # noqa: PLC0415 - needs nats

        forget_device(settings, device_id)
        return
    with closing(_devices(settings)) as devices:
        devices.remove(device_id)


def _adopt(settings: Settings, device_id: str, node: str, *, keyless: bool, unheard: bool) -> None:
    if settings.stream:
        from tmon.stream import owner_devices  # noqa: PLC0415 - needs nats

        owner_devices.adopt_device(settings, device_id, node, keyless=keyless, unheard=unheard)
        click.echo(
            f"{device_id} is {node} on all machines; each stores what it has received of it",
            err=True,
        )
        return
    if not unheard:
        require_heard(settings, device_id)
    _tell(device_id, node, adopt_device(settings, device_id, node, now_ms(), keyless=keyless))


def _devices(settings: Settings) -> Devices:
    path = path_beside(settings.db)
    if not path.exists():
        raise TmonError("no gateway has sent anything yet")
    return Devices(path)


def _tell(device_id: str, node: str, receipt: Receipt) -> None:
    text = f"{device_id} is {node}; {receipt.accepted:,} readings came along"
    if receipt.rejected:
        text += f", {len(receipt.rejected):,} could not be stored: see the table rejected"
    click.echo(text, err=True)
