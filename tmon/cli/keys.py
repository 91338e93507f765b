"""`tmon key get|rotate|revoke|list`."""

import click

from tmon.cli.connecting import (
    INSTRUCTIONS,
    OF_GATEWAYS,
    instructions,
    is_guessed,
    is_local,
    needs_plain_http,
)
from tmon.cli.opening import open_here, open_or_create, open_to_change
from tmon.cli.options import as_json, show, station, takes, takes_station
from tmon.db import keys
from tmon.db.tokens import load_or_create_secret


@click.group()
def key() -> None:
    """Nodes' keys: short, for devices that have no room for a token."""


is_gateway = click.option(
    "--gateway", "is_gateway", is_flag=True, help="of a sender of many devices, not of a node"
)


@key.command("get")
@click.argument("node", metavar="NODE", nargs=-1, required=True)
@is_gateway
@click.option("--node-from", is_flag=True, help="with --gateway: a device's id is its node's name")
@click.option("--adopt-all", is_flag=True, help="with --gateway: each device is a node at once")
@click.option(
    "--for",
    "device",
    type=click.Choice([*INSTRUCTIONS]),
    metavar="DEVICE",
    help=f"print what to type into it: {', '.join(INSTRUCTIONS)}",
)
@takes_station
@takes("host", "port", "ingest_url")
def get(
    node: tuple[str, ...],
    device: str | None,
    *,
    is_gateway: bool,
    node_from: bool,
    adopt_all: bool,
    **flags: str | None,
) -> None:
    """Print each NODE's key, creating nodes that don't exist.

    A key is 32 hexadecimal digits and can only write. Run again, it prints the same key.
    A gateway's devices wait until `tmon device adopt` makes nodes of them.

    \b
    Examples:
      tmon key get weather
      tmon key get weather --for ecowitt
      tmon key get --gateway lorawan
    """
    if (node_from or adopt_all) and not is_gateway:
        raise click.UsageError("--node-from and --adopt-all go with --gateway")
    if is_gateway and device and device not in OF_GATEWAYS:
        raise click.UsageError(f"{device} is one device: give it a node's key, without --gateway")
    settings = station(flags)
    with open_or_create(settings) as db:
        signer = keys.Keys(load_or_create_secret(settings))
        for name in node:
            key = signer.make(
                keys.get_or_create_of_gateway(db, name, names_nodes=node_from, adopts_all=adopt_all)
                if is_gateway
                else keys.get_or_create(db, name)
            )
            click.echo(instructions(device, settings, key) if device else key)
    if device and needs_plain_http(device, settings):
        click.echo(
            f"{device} speaks no TLS: give it an address that begins with http:, "
            "such as ingest's own in your network (--ingest-url)",
            err=True,
        )
    if device and is_guessed(settings):
        click.echo(
            "the address is this machine's own in its network; if devices use another, set "
            "TMON_INGEST_URL, such as http://192.168.1.10:13117",
            err=True,
        )
    if device and is_local(settings):
        click.echo(
            f"only this machine reaches {settings.host}: set TMON_HOST=0.0.0.0 here and for "
            "`tmon serve`, or TMON_INGEST_URL behind a proxy",
            err=True,
        )


@key.command("rotate")
@click.argument("node")
@is_gateway
@takes_station
def rotate(node: str, *, is_gateway: bool, **flags: str | None) -> None:
    """Print a new key for NODE; the old one is refused within a second.

    \b
    Example:
      tmon key rotate weather
    """
    settings = station(flags)
    with open_to_change(settings) as db:
        click.echo(
            keys.Keys(load_or_create_secret(settings)).make(
                keys.rotate(db, node, is_gateway=is_gateway)
            )
        )


@key.command("revoke")
@click.argument("node")
@is_gateway
@takes("db")
def revoke(node: str, *, is_gateway: bool, **flags: str | None) -> None:
    """Refuse what comes with NODE's key from now on; its token stays valid.

    \b
    Example:
      tmon key revoke weather
    """
    with open_to_change(station(flags)) as db:
        keys.revoke(db, node, is_gateway=is_gateway)
        argument = keys.find(db, node, is_gateway=is_gateway).argument
    click.echo(
        f"{node}'s key is no longer valid; `tmon key rotate {argument}` makes a new one", err=True
    )


@key.command("list")
@as_json
@takes("db")
def list_(as_json: bool, **flags: str | None) -> None:
    """List the nodes and gateways with a key. The keys themselves aren't stored, so not shown.

    \b
    Examples:
      tmon key list
      tmon key list --json
    """
    with open_here(station(flags)) as db:
        show(keys.listed(db), as_json=as_json)
