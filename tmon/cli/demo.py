"""`tmon demo add|remove`."""

import logging
import time
from pathlib import Path

import click

from tmon.cli.opening import refuse_in_cluster
from tmon.cli.options import station, takes
from tmon.core import demo as of_demo
from tmon.core.humanize import pluralize
from tmon.core.time import now_ms
from tmon.db import tokens
from tmon.db.connect import open_database
from tmon.importer import demo as importer
from tmon.maintenance import demo as maintenance


@click.group()
def demo() -> None:
    """A demo: a small house with three nodes, whose history ends now."""


@demo.command("add")
@click.argument(
    "file", type=click.Path(path_type=Path), default="data/ambient_temperature.csv", required=False
)
@takes("db")
def add(file: Path, **flags: str | None) -> None:
    """Store the demo: real temperatures, moved in time so that they end now.

    Without FILE, run it in tmon's folder.

    \b
    Example:
      tmon demo add
    """
    settings = station(flags)
    refuse_in_cluster(settings, "demo")
    is_new = not settings.db.exists()
    with tokens.open_station(settings) as db:
        if is_new:  # a station with nodes and no secret has lost it
            tokens.load_or_create_secret(settings, made_level=logging.INFO)
        stored = importer.add(db, file, now_ms(), time.localtime().tm_gmtoff)
    names = ", ".join(of_demo.NODES)
    click.echo(f"{pluralize(stored, 'reading')} of a demo house are stored: {names}")
    click.echo("`tmon demo remove` removes them")


@demo.command("remove")
@takes("db")
def remove(**flags: str | None) -> None:
    """Remove the demo, and nothing else.

    \b
    Example:
      tmon demo remove
    """
    settings = station(flags)
    refuse_in_cluster(settings, "demo")
    with open_database(settings.db) as db:
        deleted = maintenance.remove(db, now_ms())
    click.echo(f"the demo is removed, with {pluralize(deleted, 'reading')}")
