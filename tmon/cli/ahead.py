"""`tmon remove-ahead`."""

import json
from collections.abc import Sequence
from typing import Any

import click

from tmon.cli.options import as_json as as_json_option
from tmon.cli.options import progress_bar, show, station, takes
from tmon.cli.params import find_sensors
from tmon.core import humanize
from tmon.core.time import now_ms
from tmon.db.connect import open_database
from tmon.maintenance import ahead as readings_ahead
from tmon.maintenance.ahead import Ahead
from tmon.maintenance.clocks import check_server_clock


@click.command("remove-ahead")
@click.option("--node", metavar="NAME", help="of this node alone")
@click.option("--sensor", metavar="NAME", help="of this sensor of it alone")
@click.option("--dry-run", is_flag=True, help="show them, and change nothing")
@click.option("--yes", is_flag=True, help="delete them without asking")
@as_json_option
@takes("db")
def remove_ahead(
    *,
    node: str | None,
    sensor: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **flags: str | None,
) -> None:
    """Delete readings that are more than ten minutes ahead of the server's clock.

    They are from a time when a node's or the server's clock was ahead (T19). Their hours
    are put right, and it is written down in `changes`. Ingest goes on meanwhile. Where
    most nodes say that the server's clock is wrong, nothing is deleted.

    \b
    Examples:
      tmon remove-ahead --dry-run
      tmon remove-ahead
      tmon remove-ahead --node attic --yes
    """
    at_ms = now_ms()
    with open_database(station(flags).db) as db:
        check_server_clock(db, at_ms)
        found = readings_ahead.find(db, at_ms, find_sensors(db, node, sensor))
        total = sum(one.readings for one in found)
        if (dry_run and as_json) or (found and not as_json):
            show([_shown(one) for one in found], as_json=as_json)
        if dry_run:
            if not found:
                click.echo("no reading is ahead", err=True)
            return
        if found and not yes:
            asked = f"It is {humanize.instant(at_ms)} by this clock. Delete {_counted(found)}?"
            click.confirm(asked, abort=True, err=True)
        with progress_bar(total) as bar:
            removed = readings_ahead.remove(db, found, at_ms, bar.update)
    told = {"removed": removed, "sensors": len(found)}
    click.echo(json.dumps(told) if as_json else f"removed {humanize.pluralize(removed, 'reading')}")


def _counted(found: Sequence[Ahead]) -> str:
    readings = humanize.pluralize(sum(one.readings for one in found), "reading")
    return f"{readings} of {humanize.pluralize(len(found), 'sensor')}"


def _shown(one: Ahead) -> dict[str, Any]:
    return {
        "node": one.node,
        "sensor": one.name,
        "readings": one.readings,
        "from": humanize.instant(one.from_ms),
        "to": humanize.instant(one.to_ms),
    }
