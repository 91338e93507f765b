"""The commands: they print, and decide nothing."""

import json
import logging
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
from tabulate import tabulate

from ingest import nodes, tokens
from ingest.errors import TmonError
from ingest.schema import RefusedDatabase, open_database, sqlite3
from ingest.serve import CannotServe, serve_both, serve_one
from ingest.settings import SETTINGS, InvalidSettings, Settings

F = TypeVar("F", bound=Callable[..., Any])
DELIBERATE = (
    TmonError,
    RefusedDatabase,
    InvalidSettings,
    CannotServe,
    OSError,
    sqlite3.OperationalError,
)


class Commands(click.Group):
    """Commands whose deliberate errors are one line on stderr, and no traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DELIBERATE as error:
            raise click.ClickException(str(error)) from error


def takes(*names: str) -> Callable[[F], F]:
    """Give a command flags for some of the settings; it gets what was given by name."""

    def decorate(command: F) -> F:
        for setting in reversed([one for one in SETTINGS if one.name in names]):
            shown = f" [default: {setting.default}]" if setting.default else ""
            told = f"{setting.help}{shown} [{setting.variable}]"
            command = click.option(setting.flag, setting.name, metavar="", help=told)(command)
        return command

    return decorate


def environ_with(flags: Mapping[str, str | None]) -> dict[str, str]:
    """The environment, in which a flag that was given goes before its variable."""
    given = {f"TMON_{name.upper()}": text for name, text in flags.items() if text is not None}
    return {**os.environ, **given}


def station(flags: Mapping[str, str | None]) -> Settings:
    """The settings from flags and environment.

    Raises:
        InvalidSettings: with every problem that there is.
    """
    return Settings.load(environ_with(flags))


def show(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    """Rows for people as a table, for programs as JSON."""
    click.echo(json.dumps(rows) if as_json else tabulate(rows, headers="keys", tablefmt="plain"))


as_json = click.option("--json", "as_json", is_flag=True, help="for programs")
takes_station = takes("db", "secret", "secret_file")


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tmon")
def main() -> None:
    """Many small sensors, one SQLite file you own, published for everyone.

    \b
    Examples:
      tmon serve                     take readings in, and publish them
      tmon token get basement        a token for the node called basement
    """
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")


@main.command()
@click.argument("part", type=click.Choice(["ingest", "datasette"]), required=False)
@takes(*(setting.name for setting in SETTINGS))
@click.option("--socket-fd", type=int, hidden=True)
@click.option("--lifeline-fd", type=int, hidden=True)
def serve(
    part: str | None, socket_fd: int | None, lifeline_fd: int | None, **flags: str | None
) -> None:
    """Take readings in and publish them, or do just one of the two.

    \b
    Examples:
      tmon serve
      tmon serve --host 0.0.0.0      so that nodes in the network reach it
      tmon serve ingest              one process, for systemd
      tmon serve datasette           the other
    """
    settings = station(flags)
    if part:
        serve_one(part, settings, socket_fd=socket_fd, lifeline_fd=lifeline_fd)
    else:
        serve_both(settings, environ_with(flags), click.echo)


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
    for one in tokens.get_all(station(flags), node):
        click.echo(one)


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
        click.echo(tokens.rotate(db, tokens.Tokens(tokens.station_secret(settings)), node))


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


if __name__ == "__main__":
    main()
