"""`tmon remove-ahead`."""

import json
from typing import Any

import click

from tmon.cli.opening import open_here, open_to_change
from tmon.cli.options import as_json as as_json_option
from tmon.cli.options import progress_bar, show, station, takes
from tmon.cli.params import find_sensors
from tmon.core import humanize
from tmon.core.humanize import pluralize
from tmon.core.time import now_ms
from tmon.maintenance import ahead as readings_ahead
from tmon.maintenance.clocks import check_server_clock
from tmon.maintenance.rollup import SensorReadings


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

    A node's or the server's clock was ahead when they came (T19). Their hours are
    recomputed, and `changes` gets a row. Ingest goes on meanwhile. If most nodes say that
    the server's clock is wrong, nothing is deleted.

    \b
    Examples:
      tmon remove-ahead --dry-run
      tmon remove-ahead
      tmon remove-ahead --node attic --yes
    """
    at_ms = now_ms()
    opened = open_here if dry_run else open_to_change
    with opened(station(flags)) as db:
        check_server_clock(db, at_ms)
        found = readings_ahead.find(db, at_ms, find_sensors(db, node, sensor))
        total = sum(one.readings for one in found)
        if (dry_run and as_json) or (found and not as_json):
            show([_row(one) for one in found], as_json=as_json)
        if dry_run:
            if not found:
                click.echo("no reading is ahead", err=True)
            return
        if found and not yes:
            what = f"{pluralize(total, 'reading')} of {pluralize(len(found), 'sensor')}"
            clock = f"It is {humanize.instant(at_ms)} by this clock."
            click.confirm(f"{clock} Delete {what}?", abort=True, err=True)
        with progress_bar(total) as bar:
            removed = readings_ahead.remove(db, found, at_ms, bar.update)
    result = {"removed": removed, "sensors": len(found)}
    click.echo(json.dumps(result) if as_json else f"removed {pluralize(removed, 'reading')}")


def _row(one: SensorReadings) -> dict[str, Any]:
    return {
        "node": one.node,
        "sensor": one.name,
        "readings": one.readings,
        "from": humanize.instant(one.from_ms),
        "to": humanize.instant(one.to_ms),
    }
