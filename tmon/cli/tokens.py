"""`tmon token get|rotate|revoke|list`."""

import click

from tmon.cli.opening import open_here, open_or_create, open_to_change
from tmon.cli.options import as_json, show, station, takes, takes_station
from tmon.core.settings import Settings
from tmon.db import keys, nodes, tokens
from tmon.maintenance import token_probe


@click.group()
def token() -> None:
    """Nodes' tokens: a node writes with its own, and for itself alone."""


@token.command("get")
@click.argument("node", nargs=-1, required=True)
@takes_station
def get(node: tuple[str, ...], **flags: str | None) -> None:
    """Print each NODE's token, creating nodes that don't exist.

    Run again, it prints the same token.

    \b
    Examples:
      tmon token get basement
      tmon token get attic garage cellar
    """
    settings = station(flags)
    for made in tokens.get_or_create(settings, node, open_or_create):
        click.echo(made)
    _warn_if_refused(settings, made)


@token.command("rotate")
@click.argument("node")
@takes_station
def rotate(node: str, **flags: str | None) -> None:
    """Print a new token for NODE; the old one is refused within a second.

    \b
    Example:
      tmon token rotate basement
    """
    settings = station(flags)
    with open_to_change(settings) as db:
        rotated = tokens.rotate(db, tokens.Tokens(tokens.load_or_create_secret(settings)), node)
    click.echo(rotated)
    _warn_if_refused(settings, rotated)


def _warn_if_refused(settings: Settings, token: str) -> None:
    if warning := token_probe.why_refused(settings, token):
        click.echo(warning, err=True)


@token.command("revoke")
@click.argument("node")
@takes("db")
def revoke(node: str, **flags: str | None) -> None:
    """Refuse NODE's readings from now on; what it sent stays.

    \b
    Example:
      tmon token revoke basement
    """
    with open_to_change(station(flags)) as db:
        tokens.revoke(db, node)
        has_key = keys.has_valid(db, node)
    click.echo(f"{node}'s token is refused; `tmon token rotate {node}` makes a new one", err=True)
    if has_key:
        click.echo(f"{node} also has a key, which is valid: `tmon key revoke {node}`", err=True)


@token.command("list")
@as_json
@takes("db")
def list_(as_json: bool, **flags: str | None) -> None:
    """List the nodes with a token. The tokens themselves aren't stored, so not shown.

    \b
    Examples:
      tmon token list
      tmon token list --json
    """
    with open_here(station(flags)) as db:
        show(nodes.with_tokens(db), as_json=as_json)
