"""`tmon prune`, `tmon rollup`, `tmon compact` and `tmon stats`."""

import json
from collections.abc import Sequence

import click
from sqlite_utils import Database
from tabulate import tabulate

from tmon.cli.opening import open_here
from tmon.cli.options import as_json as as_json_option
from tmon.cli.options import progress_bar, show, station, takes
from tmon.cli.params import INSTANT, LENGTH, find_sensors
from tmon.core.time import as_datetime, now_ms
from tmon.maintenance import compact as compacting
from tmon.maintenance import prune as pruning
from tmon.maintenance import rollup as rolling
from tmon.maintenance import stats as counting
from tmon.maintenance.rollup import SensorReadings

LISTED = 20  # differing hours that are shown one by one


@click.command()
@click.option("--raw-older-than", "older_than_s", required=True, type=LENGTH, metavar="LENGTH")
@click.option("--node", metavar="NAME", help="of this node alone")
@click.option("--sensor", metavar="NAME", help="of this sensor of it alone")
@click.option("--dry-run", is_flag=True, help="say what would go, and change nothing")
@as_json_option
@takes("db")
def prune(
    older_than_s: int,
    node: str | None,
    sensor: str | None,
    dry_run: bool,
    as_json: bool,
    **flags: str | None,
) -> None:
    """Delete raw readings that are older than LENGTH, such as 2y; their hours stay.

    Ingest goes on meanwhile. Later, readings from before then are refused, as nobody can
    tell whether their hour has counted them. The hour of each sensor's newest reading and
    hours in which a calibration or flag begins or ends are kept. It can be stopped or
    killed at any time; run again, it goes on.

    \b
    Examples:
      tmon prune --raw-older-than 2y --dry-run
      tmon prune --raw-older-than 2y
      tmon prune --raw-older-than 90d --node basement --sensor load1
    """
    with open_here(station(flags)) as db:
        chosen = find_sensors(db, node, sensor)
        with progress_bar(len(rolling.sensors(db))) as bar:
            olds = pruning.plan(db, older_than_s, now_ms(), chosen, bar.update)
        readings = sum(old.readings for old in olds)
        if dry_run:
            _show_plan(olds, as_json=as_json)
            return
        with progress_bar(len(olds)) as bar:
            pruning.verify(db, olds, bar.update)
        with progress_bar(readings) as bar:
            deleted = pruning.prune(db, olds, bar.update)
        with progress_bar(pruning.free_pages(db)) as bar:
            pages = pruning.release_free_pages(db, bar.update)
        returned_bytes = pages * int(db.execute("pragma page_size").fetchone()[0])
    result = {"readings": deleted, "sensors": len(olds), "returned_bytes": returned_bytes}
    text = f"pruned {deleted:,} readings of {len(olds):,} sensors; {_megabytes(returned_bytes)}"
    click.echo(json.dumps(result) if as_json else f"{text} given back")


def _show_plan(olds: Sequence[SensorReadings], *, as_json: bool) -> None:
    rows = [
        {
            "node": old.node,
            "sensor": old.name,
            "readings": old.readings,
            "about_bytes": old.about_bytes,
            "before": _minute(old.to_ms),
        }
        for old in olds
    ]
    show(rows, as_json=as_json)
    readings, size = sum(old.readings for old in olds), sum(old.about_bytes for old in olds)
    total = f"{readings:,} readings of {len(olds):,} sensors, about {_megabytes(size)}"
    click.echo(f"would go: {total}", err=True)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _minute(instant_ms: int) -> str:
    return f"{as_datetime(instant_ms):%Y-%m-%dT%H:%MZ}"


@click.command()
@click.option("--check", is_flag=True, help="list hours that differ from their readings")
@click.option("--rebuild", is_flag=True, help="recompute those")
@click.option("--since", "since_ms", type=INSTANT, metavar="DATE", help="only from then on")
@as_json_option
@takes("db")
def rollup(
    check: bool,
    rebuild: bool,
    since_ms: int | None,
    as_json: bool,
    **flags: str | None,
) -> None:
    """Compare `hourly` with the raw readings, or recompute it from them.

    They differ only after another program's UPDATE, DELETE or REPLACE. Hours whose
    readings were pruned are left alone. With --check, the exit status is 1 if hours differ.

    \b
    Examples:
      tmon rollup --check
      tmon rollup --check --since 2026-11-01
      tmon rollup --rebuild
    """
    if check == rebuild:
        raise click.UsageError("say --check or --rebuild")
    with open_here(station(flags)) as db:
        with progress_bar(len(rolling.sensors(db))) as bar:
            if rebuild:
                count = rolling.rebuild(db, since_ms, bar.update)
            else:
                differing = list(rolling.differing_hours(db, since_ms, bar.update))
        if rebuild:
            result = {"rebuilt": count}
            click.echo(json.dumps(result) if as_json else f"{count:,} hours put right")
            return
        _show_differing(db, differing, as_json=as_json)
    click.get_current_context().exit(1 if differing else 0)


def _show_differing(db: Database, differing: Sequence[tuple[int, int]], *, as_json: bool) -> None:
    labels = dict(db.execute("select id, label from sensors").fetchall())
    if as_json:
        rows = [{"sensor": sensor, "hour_ms": hour_ms} for sensor, hour_ms in differing]
        click.echo(json.dumps({"differing": len(differing), "hours": rows}))
        return
    for sensor, hour_ms in differing[:LISTED]:
        click.echo(f"{labels[sensor]} {_minute(hour_ms)}")
    if len(differing) > LISTED:
        click.echo(f"and {len(differing) - LISTED:,} more")
    if differing:
        click.echo(
            f"{len(differing):,} hours differ; `tmon rollup --rebuild` puts them right", err=True
        )
    else:
        click.echo("all hours are what their readings say", err=True)


@click.command()
@takes("db")
def compact(**flags: str | None) -> None:
    """Rewrite the database without gaps and in small pages, which spare an SD card.

    A file from tmon 0.1 has pages of 4 kB, and each reading writes two of them. Stop
    `tmon serve` before; 10 million readings take half a minute. The old file stays in place
    until the end, so nothing is lost if it is killed.

    \b
    Examples:
      tmon compact
      tmon compact --db /var/lib/tmon/tmon.db
    """
    done = compacting.compact(station(flags).db, progress_bar)
    click.echo(f"{_megabytes(done.before_bytes)} before, {_megabytes(done.after_bytes)} now")


@click.command()
@as_json_option
@takes("db")
def stats(as_json: bool, **flags: str | None) -> None:
    """Count readings, sensors and the file's bytes, and say what was pruned.

    \b
    Examples:
      tmon stats
      tmon stats --json
    """
    settings = station(flags)
    with open_here(settings) as db:
        counted = counting.stats(db, settings.db, now_ms())
    if as_json:
        click.echo(json.dumps(counted))
        return
    chores = counted.pop("chores")
    rows = [
        (
            name.replace("_", " "),
            f"{value:,}" if isinstance(value, int | float) else str(value or ""),
        )
        for name, value in counted.items()
    ]
    rows += [(name, f"{chore['done_at']} {chore['outcome']}") for name, chore in chores.items()]
    click.echo(tabulate(rows, tablefmt="plain", disable_numparse=True))
