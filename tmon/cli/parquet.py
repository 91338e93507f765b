"""``tmon parquet``."""

from collections import Counter
from importlib.util import find_spec

import click

from tmon.cli.options import progress_bar, station, takes
from tmon.cli.params import INSTANT
from tmon.core.humanize import pluralize
from tmon.core.time import DAY_MS, FIRST_MS, now_ms
from tmon.db.connect import open_migrated_for_reading

WITHOUT_PYARROW = (
    "tmon parquet needs pyarrow: `pip install 'tmon[parquet]'`, or into a tmon that is installed"
    " already, `/opt/tmon/.venv/bin/pip install 'pyarrow>=22'`"
)
DONE = {
    "written": "{}: {} written",
    "deleted": "{}: deleted, as the station has no readings of it any more",
}


@click.command()
@click.argument("target")
@click.option(
    "--since",
    "since_ms",
    type=INSTANT,
    default=None,
    metavar="DATE",
    help="look at days from then on alone [default: at all]",
)
@takes("db")
def parquet(target: str, since_ms: int | None, **flags: str | None) -> None:
    """Write the readings to TARGET as Parquet files, one for each UTC day that is over.

    TARGET is a folder, or s3://bucket/prefix with the usual AWS_* variables. A day is written
    again when it has changed: late readings, corrections, other names. It can be stopped or
    killed at any time; run again, it goes on. Needs pyarrow: pip install 'tmon[parquet]'.

    \b
    Examples:
      tmon parquet /var/lib/tmon/parquet
      tmon parquet s3://my-bucket/tmon --since 2026-11-01
    """
    if find_spec("pyarrow") is None:
        raise click.ClickException(WITHOUT_PYARROW)
    from tmon.maintenance.parquet import export  # noqa: PLC0415 - pyarrow is an extra
    from tmon.maintenance.parquet_target import Target  # noqa: PLC0415

    until_ms = now_ms()
    counts: Counter[str] = Counter()
    with open_migrated_for_reading(station(flags).db) as db:
        since_ms = FIRST_MS if since_ms is None else since_ms
        first_ms = db.execute(
            "select min(measured_ms) from readings where measured_ms >= ?", [since_ms]
        ).fetchone()[0]
        length = 0 if first_ms is None else max(0, until_ms - first_ms) // DAY_MS
        with progress_bar(length) as bar:
            for one in export(db, Target(target), until_ms, since_ms, bar.update):
                counts[one.what] += 1
                if one.what in DONE:
                    click.echo(DONE[one.what].format(one.day, pluralize(one.readings, "reading")))
    unchanged = pluralize(counts["unchanged"], "day")
    click.echo(f"{pluralize(counts['written'], 'day')} written, {unchanged} unchanged", err=True)
    if kept := counts["kept"]:
        click.echo(
            f"{pluralize(kept, 'day')} left as they are: readings of them were pruned", err=True
        )
