"""A sqlite-utils plugin: ``sqlite-utils token insert tmon.db basement``."""

import os

import click
from sqlite_utils import hookimpl

from tmon.cli.opening import open_or_create
from tmon.cli.options import Commands
from tmon.core.settings import Settings
from tmon.db import tokens
from tmon.maintenance import token_probe


@hookimpl
def register_commands(cli: click.Group) -> None:
    """Add the group ``token`` to sqlite-utils' commands."""
    cli.add_command(token)


@click.group(cls=Commands)
def token() -> None:
    """Tokens of tmon's nodes."""


@token.command()
@click.argument("path")
@click.argument("node", nargs=-1, required=True)
def insert(path: str, node: tuple[str, ...]) -> None:
    """Create each NODE in the tmon database PATH, and print its token.

    \b
    Example:
        sqlite-utils token insert tmon.db basement
    """
    settings = Settings.load({**os.environ, "TMON_DB": path})
    for one in tokens.get_or_create(settings, node, open_or_create):
        click.echo(one)
    if warning := token_probe.why_refused(settings, one):
        click.echo(warning, err=True)
