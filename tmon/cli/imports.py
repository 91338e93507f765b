"""`tmon imports`, and `tmon imports undo`."""

import shlex
import sys
from typing import Any

import click

from tmon.cli.opening import open_here, refuse_in_cluster
from tmon.cli.options import as_json as as_json_option
from tmon.cli.options import progress_bar, show, station, takes
from tmon.core import humanize
from tmon.core.humanize import pluralize
from tmon.core.time import HOUR_MS, as_datetime, iso, now_ms
from tmon.maintenance import imports as of_imports
from tmon.maintenance.imports import Part


@click.group(invoke_without_command=True)
@as_json_option
@takes("db")
@click.pass_context
def imports(ctx: click.Context, /, *, as_json: bool, **flags: str | None) -> None:
    """List what was imported, the newest first; or undo an import.

    \b
    Examples:
      tmon imports
      tmon imports --json
      tmon imports undo 3
    """
    if ctx.invoked_subcommand is None:
        with open_here(station(flags)) as db:
            rows = of_imports.list_imports(db)
        show(rows if as_json else [*map(_shown, rows)], as_json=as_json)


@imports.command()
@click.argument("number", type=int)
@click.option("--yes", is_flag=True, help="undo without asking")
@takes("db")
def undo(number: int, *, yes: bool, **flags: str | None) -> None:
    """Delete the readings that import NUMBER stored, and recompute their hours.

    Readings from before it, or that came since, stay. So do those of which that isn't
    certain any more; they are listed. Ingest goes on meanwhile. It can be stopped or killed at
    any time; run again, it goes on.

    \b
    Examples:
      tmon imports undo 3
      tmon imports undo 3 --yes      elsewhere than on a terminal
    """
    settings = station(flags)
    refuse_in_cluster(settings, "imports undo")
    with open_here(settings) as db:
        row = of_imports.find(db, number)
        headline = f"import {row['id']}, {humanize.printable(row['file'])}: {_counts(row)}"
        headline += "" if row["ended_ms"] else "; it was stopped, or still goes on"
        click.echo(headline, err=True)
        parts = of_imports.plan(db, number)
        waiting = sum(part.readings for part in parts if not part.why)
        if parts:
            show([*map(_part, parts)], as_json=False)
        if waiting and not yes:
            if not sys.stdin.isatty():
                raise click.UsageError("nothing was changed; say --yes to take them back")
            click.confirm(f"Take {pluralize(waiting, 'reading')} back?", abort=True, err=True)
        with progress_bar(waiting) as bar:
            taken = of_imports.undo(db, number, now_ms(), bar.update)
        left = of_imports.plan(db, number)
    click.echo(f"took back {pluralize(taken, 'reading')}")
    if left:
        commands = "\n".join(f"  {_flag_command(part, number)}" for part in left)
        raise click.ClickException(
            f"readings of {pluralize(len(left), 'sensor')} had to stay, for the reasons above."
            f" This leaves their periods out of pages and clean views:\n{commands}"
        )


def _counts(row: dict[str, Any]) -> str:
    stored = f"{pluralize(row['stored'], 'reading')} stored"
    return f"{stored}, {row['taken_back']:,} taken back" if row["taken_back"] else stored


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "import": row["id"],
        "file": humanize.printable(row["file"]),
        "at": humanize.instant(row["started_ms"]),
        "node": row["node"],
        "stored": row["stored"],
        "already there": row["already_there"],
        "rejected": row["rejected"],
        "first": _day(row["first_ms"]),
        "last": _day(row["last_ms"]),
        "": _state(row),
    }


def _state(row: dict[str, Any]) -> str:
    if row["taken_back"]:
        return "undone" if row["taken_back"] == row["stored"] else "partly undone"
    return (
        humanize.printable(row["note"] or "") if row["ended_ms"] else "stopped, or still going on"
    )


def _part(part: Part) -> dict[str, Any]:
    return {
        "node": part.node,
        "sensor": part.sensor,
        "readings": part.readings or None,  # if unknown
        "first": humanize.instant(part.first_ms),
        "last": humanize.instant(part.last_ms),
        "": f"stay: {part.why}" if part.why else "are taken back",
    }


def _flag_command(part: Part, number: int) -> str:
    """The command that flags a part's readings, in whole hours where only hours are left."""
    step_ms = HOUR_MS if part.why == of_imports.PRUNED else 1
    begin_ms = part.first_ms // step_ms * step_ms
    end_ms = (part.last_ms // step_ms + 1) * step_ms
    period = ["--from", iso(begin_ms), "--to", iso(end_ms), "--reason", f"import {number}"]
    return shlex.join(["tmon", "flag", part.node, part.sensor, *period])


def _day(instant_ms: int | None) -> str | None:
    return None if instant_ms is None else f"{as_datetime(instant_ms):%Y-%m-%d}"
