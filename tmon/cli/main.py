"""The commands: they print, and decide nothing."""

import click

from tmon.cli import ahead, backup, care, check, correct, imports, limit, mute, retention
from tmon.cli.import_command import import_
from tmon.cli.options import (
    Commands,
    as_json,
    environ_with,
    show,
    station,
    takes,
    takes_station,
)
from tmon.core.settings import SERVED, Settings
from tmon.db import nodes, tokens
from tmon.db.connect import open_database
from tmon.maintenance import running

COMMANDS: tuple[click.Command, ...] = (
    check.check,
    limit.limit,
    mute.mute,
    backup.backup,
    backup.restore,
    care.sensor,
    imports.imports,
    correct.calibrate,
    correct.flag,
    retention.compact,
    retention.prune,
    ahead.remove_ahead,
    retention.rollup,
    retention.stats,
)
OF_NODE: tuple[click.Command, ...] = (care.rename_node,)  # under `tmon node`, beside ingest's


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tmon")
def main() -> None:
    """Many small sensors, one SQLite file you own, published for everyone.

    \b
    Examples:
      tmon serve                     take readings in, and publish them
      tmon token get basement        a token for the node called basement
    """


@main.command()
@click.argument("part", type=click.Choice(["ingest", "datasette"]), required=False)
@takes(*SERVED)
@click.option("--fds", type=(int, int), hidden=True, help="a socket and a lifeline, handed over")
def serve(part: str | None, fds: tuple[int, int] | None, **flags: str | None) -> None:
    """Take readings in and publish them, or do just one of the two.

    \b
    Examples:
      tmon serve
      tmon serve --host 0.0.0.0      so that nodes in the network reach it
      tmon serve ingest              one of the two, for systemd
      tmon serve datasette           the other
    """
    from tmon.serve import processes as serving  # noqa: PLC0415 - no other command needs a web server

    settings = station(flags)
    if fds:
        serving.publish_beside(settings, *fds)
    elif part:
        serving.serve_one(part, settings, click.echo)
    else:
        serving.serve_both(settings, environ_with(flags), click.echo)


@main.group()
def token() -> None:
    """Nodes' tokens: a node writes with its own, and for itself alone."""


@token.command("get")
@click.argument("node", nargs=-1, required=True)
@takes_station
def token_get(node: tuple[str, ...], **flags: str | None) -> None:
    """Print each NODE's token, making nodes that there aren't yet.

    Asked again it prints the same.

    \b
    Examples:
      tmon token get basement
      tmon token get attic garage cellar
    """
    settings = station(flags)
    for one in tokens.get_all(settings, node):
        click.echo(one)
    _say_if_refused(settings, one)


@token.command("rotate")
@click.argument("node")
@takes_station
def token_rotate(node: str, **flags: str | None) -> None:
    """Print a new token for NODE; the old one is refused within a second.

    \b
    Example:
      tmon token rotate basement
    """
    settings = station(flags)
    with open_database(settings.db) as db:
        rotated = tokens.rotate(db, tokens.Tokens(tokens.station_secret(settings)), node)
    click.echo(rotated)
    _say_if_refused(settings, rotated)


def _say_if_refused(settings: Settings, made: str) -> None:
    if told := running.refusal(settings, made):
        click.echo(told, err=True)


@token.command("revoke")
@click.argument("node")
@takes("db")
def token_revoke(node: str, **flags: str | None) -> None:
    """Refuse NODE's readings from now on; what it sent stays.

    \b
    Example:
      tmon token revoke basement
    """
    with open_database(station(flags).db) as db:
        tokens.revoke(db, node)
    click.echo(
        f"{node} may write no more; `tmon token rotate {node}` gives it a new token", err=True
    )


@token.command("list")
@as_json
@takes("db")
def token_list(as_json: bool, **flags: str | None) -> None:
    """List who holds a token. The tokens themselves are not stored, so not shown.

    \b
    Examples:
      tmon token list
      tmon token list --json
    """
    with open_database(station(flags).db) as db:
        show(nodes.with_tokens(db), as_json=as_json)


@main.group()
def node() -> None:
    """Nodes: what is known of each."""


@node.command("set")
@click.argument("name")
@click.option("--description", metavar="TEXT", help="where it is, what it is for")
@click.option("--latitude", type=float, help="degrees north")
@click.option("--longitude", type=float, help="degrees east")
@click.option("--silent-after", "silent_after_s", type=int, help="seconds without readings")
@takes("db")
def node_set(
    name: str,
    description: str | None,
    latitude: float | None,
    longitude: float | None,
    silent_after_s: int | None,
    **flags: str | None,
) -> None:
    """Say of a node where it stands and what it is for; everybody can read it.

    \b
    Example:
      tmon node set basement --description "next to the boiler" --latitude 52.52 --longitude 13.4
    """
    columns = {
        "description": description,
        "latitude": latitude,
        "longitude": longitude,
        "silent_after_s": silent_after_s,
    }
    with open_database(station(flags).db) as db:
        nodes.describe(db, name, {k: v for k, v in columns.items() if v is not None})


@node.command("list")
@as_json
@takes("db")
def node_list(as_json: bool, **flags: str | None) -> None:
    """List the nodes and what is known of them.

    \b
    Examples:
      tmon node list
      tmon node list --json
    """
    with open_database(station(flags).db) as db:
        show(nodes.described(db), as_json=as_json)


main.add_command(import_)
for command in COMMANDS:
    main.add_command(command)
for command in OF_NODE:
    node.add_command(command)


if __name__ == "__main__":
    main()
