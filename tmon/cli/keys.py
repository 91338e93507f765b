"""`tmon key get|rotate|revoke|list`."""

import click

from tmon.cli.connecting import INSTRUCTIONS, instructions, is_local, needs_plain_http
from tmon.cli.options import as_json, show, station, takes, takes_station
from tmon.db import keys
from tmon.db.connect import open_database
from tmon.db.tokens import load_or_create_secret, open_station


@click.group()
def key() -> None:
    """Nodes' keys: short, for devices that have no room for a token."""


@key.command("get")
@click.argument("node", nargs=-1, required=True)
@click.option(
    "--for",
    "device",
    type=click.Choice([*INSTRUCTIONS]),
    metavar="DEVICE",
    help=f"print what to type into it: {', '.join(INSTRUCTIONS)}",
)
@takes_station
@takes("host", "port", "ingest_url")
def get(node: tuple[str, ...], device: str | None, **flags: str | None) -> None:
    """Print each NODE's key, creating nodes that don't exist.

    A key is 32 hexadecimal digits and can only write. Run again, it prints the same key.

    \b
    Examples:
      tmon key get weather
      tmon key get weather --for ecowitt
    """
    settings = station(flags)
    with open_station(settings) as db:
        signer = keys.Keys(load_or_create_secret(settings))
        for name in node:
            key = signer.make(keys.get_or_create(db, name))
            click.echo(instructions(device, settings, key) if device else key)
    if device and needs_plain_http(device, settings):
        click.echo(
            f"{device} speaks no TLS: give it an address that begins with http:, "
            "such as ingest's own in your network (--ingest-url)",
            err=True,
        )
    if device and is_local(settings):
        click.echo(
            f"only this machine reaches {settings.host}: set TMON_HOST=0.0.0.0, "
            "or TMON_INGEST_URL behind a proxy",
            err=True,
        )


@key.command("rotate")
@click.argument("node")
@takes_station
def rotate(node: str, **flags: str | None) -> None:
    """Print a new key for NODE; the old one is refused within a second.

    \b
    Example:
      tmon key rotate weather
    """
    settings = station(flags)
    with open_database(settings.db) as db:
        click.echo(keys.Keys(load_or_create_secret(settings)).make(keys.rotate(db, node)))


@key.command("revoke")
@click.argument("node")
@takes("db")
def revoke(node: str, **flags: str | None) -> None:
    """Refuse what comes with NODE's key from now on; its token stays valid.

    \b
    Example:
      tmon key revoke weather
    """
    with open_database(station(flags).db) as db:
        keys.revoke(db, node)
    click.echo(
        f"{node}'s key is no longer valid; `tmon key rotate {node}` makes a new one", err=True
    )


@key.command("list")
@as_json
@takes("db")
def list_(as_json: bool, **flags: str | None) -> None:
    """List the nodes with a key. The keys themselves aren't stored, so not shown.

    \b
    Examples:
      tmon key list
      tmon key list --json
    """
    with open_database(station(flags).db) as db:
        show(keys.listed(db), as_json=as_json)
