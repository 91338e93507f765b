"""`tmon prune`, `tmon rollup`, `tmon compact` and `tmon stats`."""

import json
from collections.abc import Sequence
from typing import Any

import click
from sqlite_utils import Database
from tabulate import tabulate

from tmon.cli.options import as_json as as_json_option
from tmon.cli.options import progress_bar, show, station, takes
from tmon.cli.params import INSTANT, LENGTH, find_sensors
from tmon.core.time import as_datetime, now_ms
from tmon.db.connect import WritableDatabase, open_database
from tmon.maintenance import compact as compacting
from tmon.maintenance import prune as pruning
from tmon.maintenance import rollup as rolling
from tmon.maintenance import stats as counting
from tmon.maintenance.prune import Old

LISTED = 20  # differing hours that are told one by one


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

    Ingest goes on meanwhile. What comes late from before that is then refused, as
    nobody could tell whether it was counted. Kept are the hour of each sensor's newest
    reading, and hours that a calibration or flag begins or ends within. Stopped or
    killed, all is well, and the same again goes on.

    \b
    Examples:
      tmon prune --raw-older-than 2y --dry-run
      tmon prune --raw-older-than 2y
      tmon prune --raw-older-than 90d --node basement --sensor load1
    """
    with open_database(station(flags).db) as db:
        chosen = find_sensors(db, node, sensor)
        olds = _planned(db, older_than_s, chosen)
        if dry_run:
            show([_shown(old) for old in olds], as_json=as_json)
            click.echo(f"would go: {_total(olds)}", err=True)
            return
        deleted, returned_bytes = _pruned(db, olds)
    told = {"readings": deleted, "sensors": len(olds), "returned_bytes": returned_bytes}
    words = f"pruned {deleted:,} readings of {len(olds):,} sensors; {_megabytes(returned_bytes)}"
    click.echo(json.dumps(told) if as_json else f"{words} given back")


def _planned(db: Database, older_than_s: int, chosen: Sequence[int] | None) -> list[Old]:
    with progress_bar(len(rolling.sensors(db))) as bar:
        return pruning.plan(db, older_than_s, now_ms(), chosen, bar.update)


def _pruned(db: WritableDatabase, olds: Sequence[Old]) -> tuple[int, int]:
    """How many readings were deleted, and how many bytes the file is shorter."""
    with progress_bar(len(olds)) as bar:
        pruning.verify(db, olds, bar.update)
    with progress_bar(sum(old.readings for old in olds)) as bar:
        deleted = pruning.prune(db, olds, bar.update)
    with progress_bar(pruning.free_pages(db)) as bar:
        pages = pruning.give_back(db, bar.update)
    return deleted, pages * int(db.execute("pragma page_size").fetchone()[0])


def _shown(old: Old) -> dict[str, Any]:
    return {
        "node": old.node,
        "sensor": old.name,
        "readings": old.readings,
        "about_bytes": old.about_bytes,
        "before": _at(old.to_ms),
    }


def _total(olds: Sequence[Old]) -> str:
    readings = sum(old.readings for old in olds)
    size = _megabytes(sum(old.about_bytes for old in olds))
    return f"{readings:,} readings of {len(olds):,} sensors, about {size}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _at(instant_ms: int) -> str:
    return f"{as_datetime(instant_ms):%Y-%m-%dT%H:%MZ}"


@click.command()
@click.option("--check", is_flag=True, help="say where hours are not what their readings say")
@click.option("--rebuild", is_flag=True, help="put those right")
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
    """Compare `hourly` with the raw readings, or make it what they say.

    tmon keeps the two in step; another program's UPDATE, DELETE or REPLACE doesn't.
    Hours whose readings were pruned are left alone. With --check, the exit status is 1
    where something differs.

    \b
    Examples:
      tmon rollup --check
      tmon rollup --check --since 2026-11-01
      tmon rollup --rebuild
    """
    if check == rebuild:
        raise click.UsageError("say --check or --rebuild")
    with open_database(station(flags).db) as db:
        with progress_bar(len(rolling.sensors(db))) as bar:
            if rebuild:
                count = rolling.rebuild(db, since_ms, bar.update)
            else:
                differing = list(rolling.differing(db, since_ms, bar.update))
        if rebuild:
            told = {"rebuilt": count}
            click.echo(json.dumps(told) if as_json else f"{count:,} hours put right")
            return
        _tell(db, differing, as_json=as_json)
    click.get_current_context().exit(1 if differing else 0)


def _tell(db: Database, differing: Sequence[tuple[int, int]], *, as_json: bool) -> None:
    labels = dict(db.execute("select id, label from sensors").fetchall())
    if as_json:
        rows = [{"sensor": sensor, "hour_ms": hour_ms} for sensor, hour_ms in differing]
        click.echo(json.dumps({"differing": len(differing), "hours": rows}))
        return
    for sensor, hour_ms in differing[:LISTED]:
        click.echo(f"{labels[sensor]} {_at(hour_ms)}")
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
    """Write the database anew: without gaps, and in small pages, which spare an SD card.

    A file that tmon 0.1 made has pages of 4 kB, of which a reading alone writes two. Stop
    `tmon serve` before; a station of 10 million readings takes half a minute. Until the end
    the old file is in its place, so killed, nothing is lost.

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
    """Say how much there is: readings, sensors, the file's size, what was pruned.

    \b
    Examples:
      tmon stats
      tmon stats --json
    """
    path = station(flags).db
    with open_database(path) as db:
        counted = counting.stats(db, path, now_ms())
    if as_json:
        click.echo(json.dumps(counted))
        return
    chores = counted.pop("chores")
    rows = [(name.replace("_", " "), _figure(value)) for name, value in counted.items()]
    rows += [(name, f"{chore['done_at']} {chore['outcome']}") for name, chore in chores.items()]
    click.echo(tabulate(rows, tablefmt="plain", disable_numparse=True))


def _figure(value: object) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int | float) else str(value)
