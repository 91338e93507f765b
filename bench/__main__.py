"""`python -m bench`: measure, print the table, and write docs/performance.*."""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import click

from bench import chart, figures, home, large, minutes, report, wide, writing, year
from bench.figures import Record
from bench.load import THREADS
from bench.machine import Machine, absent_peers, file_system, require
from bench.peers import PROGRAMS
from bench.process import Failed
from bench.scale import SMOKE, Scale
from bench.station import check_room
from bench.targets import LARGE_ROWS, ROWS, Result, results
from bench.work import Work

DOCS = Path(__file__).parent.parent / "docs"
SCRATCH = os.environ.get("TMPDIR", "/var/tmp")  # noqa: S108 - on a disk; /tmp often isn't
IN_MEMORY = ("tmpfs", "ramfs")

PARTS = (
    (writing.run, ("single", "many", "batch")),
    (year.run, ("memory", "year", "latest")),
    (minutes.run, ("bytes",)),
    (home.run, ("home",)),
    (wide.run, ("latest-wide", "browsing", "rollup")),
    (large.run, LARGE_ROWS),
)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--large", "is_large", is_flag=True, help="the rows at 100 million readings instead")
@click.option("--only", multiple=True, type=click.Choice(ROWS), metavar="ROW", help="just this row")
@click.option("--rounds", type=click.IntRange(1), help="how often each is measured [default: 3]")
@click.option("--seconds", type=click.FloatRange(0.2), help="of each load [default: 6]")
@click.option("--smoke", is_flag=True, help="all rows, tiny, without peers that aren't installed")
@click.option(
    "--out", type=click.Path(path_type=Path), default=DOCS, help="folder of the results [docs]"
)
@click.option(
    "--scratch",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=SCRATCH,
    help=f"folder on a real disk for temporary databases [default: {SCRATCH}]",
)
def main(  # noqa: PLR0913, PLR0917 - one for each option
    is_large: bool,
    only: Sequence[str],
    rounds: int | None,
    seconds: float | None,
    smoke: bool,
    out: Path,
    scratch: Path,
) -> None:
    """Measure tmon and its peers, print the table, and write performance.md.

    Rows that aren't measured keep the figures of an earlier run on this machine.

    \b
    Rows: single many batch browsing rollup year latest latest-wide bytes home memory,
    and with --large: pages growth start

    \b
    Examples:
      python -m bench                                  about fifteen minutes
      python -m bench --large                          about half an hour, and 10 GB of disk
      python -m bench --only single --rounds 1         one row, quickly
      python -m bench --smoke --out .                  whether it runs at all: half a minute
    """
    if smoke and out == DOCS:
        raise click.UsageError("a smoke run doesn't measure speed; --out DIR keeps it out of docs")
    signal.signal(signal.SIGTERM, _stop)
    scale = SMOKE if smoke else Scale()
    scale = replace(scale, rounds=rounds or scale.rounds, seconds=seconds or scale.seconds)
    try:
        for record in measure(scale, _chosen(only, is_large, smoke), scratch, smoke=smoke):
            lines = publish(record, scale, out)
    except Failed as failed:
        raise click.ClickException(str(failed)) from failed
    click.echo(report.table(lines))


def _stop(*_: object) -> None:
    """Exit by an exception, so that peers are stopped and folders removed."""
    sys.exit(128 + signal.SIGTERM)


def _chosen(only: Sequence[str], is_large: bool, smoke: bool) -> Collection[str]:
    if only or smoke:
        return only or ROWS
    return [row for row in ROWS if (row in LARGE_ROWS) == is_large]


def measure(scale: Scale, rows: Collection[str], scratch: Path, *, smoke: bool) -> Iterator[Record]:
    """Measure the rows; yields all figures so far after each part.

    Raises:
        Failed: something is missing, or went wrong.
    """
    require(["wrk"] if smoke else ["wrk", *PROGRAMS.values()])
    if file_system(scratch) in IN_MEMORY and not smoke:
        raise Failed(f"{scratch} is in memory, not on a disk; set --scratch")
    record = Record(Machine.this(scratch))
    with tempfile.TemporaryDirectory(prefix="tmon-bench-", dir=scratch) as folder:
        work = Work(scale, rows, Path(folder), absent_peers(), record, time.monotonic())
        for peer in work.absent:
            work.say(f"{peer} is left out: it isn't installed")
        if work.has(*LARGE_ROWS):
            check_room(work.folder, scale.large_total)
        for run, mine in PARTS:
            if work.has(*mine):
                run(work)
                yield record


def publish(record: Record, scale: Scale, out: Path) -> Sequence[Result]:
    """Write the page, with figures of earlier runs too; return the lines of its table."""
    out.mkdir(parents=True, exist_ok=True)
    merged = record.merged_into(figures.load(out / "performance.json"))
    merged.save(out / "performance.json")
    lines = results(merged)
    page = report.render(merged, scale, THREADS)
    (out / "performance.md").write_text(page, encoding="utf-8")
    (out / "performance.svg").write_text(chart.render(lines), encoding="utf-8")
    return lines


if __name__ == "__main__":
    main()
