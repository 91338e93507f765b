"""`tmon node set|list|rename`."""

import click

from tmon.cli.opening import open_here, open_to_change
from tmon.cli.options import as_json, show, station, takes
from tmon.core.time import now_ms
from tmon.db import nodes
from tmon.maintenance import names


@click.group()
def node() -> None:
    """Nodes: described, listed, renamed."""


@node.command("set")
@click.argument("name")
@click.option("--description", metavar="TEXT", help="where it is, what it is for")
@click.option("--area", metavar="TEXT", help="the group that pages show it in; '' for none")
@click.option("--latitude", type=float, help="degrees north")
@click.option("--longitude", type=float, help="degrees east")
@click.option("--timezone", metavar="ZONE", help="of times that it sends without one")
@click.option("--silent-after", "silent_after_s", type=int, help="seconds without readings")
@takes("db")
def set_(name: str, db: str | None, **columns: str | float | None) -> None:
    """Describe a node: where it is, and what it is for. Everybody can read it.

    \b
    Examples:
      tmon node set basement --description "next to the boiler" --latitude 52.52 --longitude 13.4
      tmon node set basement --area "House"
      tmon node set plug --timezone Europe/Berlin
    """
    with open_to_change(station({"db": db})) as opened:
        nodes.describe(opened, name, {k: v for k, v in columns.items() if v is not None})


@node.command("list")
@as_json
@takes("db")
def list_(as_json: bool, **flags: str | None) -> None:
    """List the nodes with their descriptions.

    \b
    Examples:
      tmon node list
      tmon node list --json
    """
    with open_here(station(flags)) as db:
        show(nodes.described(db), as_json=as_json)


@node.command("rename")
@click.argument("old")
@click.argument("new")
@takes("db")
def rename(old: str, new: str, **flags: str | None) -> None:
    """Rename the node OLD to NEW.

    Its history and its token stay, and it may go on sending the old name. Links to
    its old page lead to the new one, unless another node takes the old name.

    \b
    Example:
      tmon node rename basement cellar
    """
    with open_to_change(station(flags)) as db:
        names.rename_node(db, old, new, now_ms())
    click.echo(f"{old} is called {new} now; its token stays as it is", err=True)
