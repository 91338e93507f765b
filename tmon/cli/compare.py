"""``tmon compare``."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from tmon.cli.options import as_json as as_json_option
from tmon.cli.options import in_one_line, progress_bar, station
from tmon.cli.params import INSTANT
from tmon.core.humanize import pluralize, printable
from tmon.core.time import iso, now_ms
from tmon.maintenance.compare import compare as compare_stations
from tmon.maintenance.compare import count_readings
from tmon.maintenance.compare_pair import Pair
from tmon.maintenance.compare_report import Comparison, Counts, Example
from tmon.maintenance.compare_streams import catch_up
from tmon.maintenance.remember_comparison import remember_comparison

SETTLED_MS = 60_000  # readings this old have arrived everywhere, unless their node was offline
DIFFER, NOT_COMPARED = 1, 2


class Comparing(click.Command):
    """A command that exits with status 2 if it fails itself, as `cmp` and `diff` do."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with in_one_line():
                return super().invoke(ctx)
        except click.ClickException as error:
            error.exit_code = NOT_COMPARED  # type: ignore[misc]  # click's own way
            raise


@click.command(cls=Comparing)
@click.argument("a")
@click.argument("b")
@click.option(
    "--until",
    "until_ms",
    type=INSTANT,
    metavar="DATE",
    help="leave out readings measured from then on [default: a minute ago]",
)
@click.option(
    "--remember",
    is_flag=True,
    help="have `tmon check` say if they differ (T29); A must be this station's file",
)
@as_json_option
def compare(*, a: str, b: str, until_ms: int | None, remember: bool, as_json: bool) -> None:
    """Say whether the stations A and B have the same data, and where they differ.

    Each is a database file or the address of a published station. The readings, nodes,
    sensors, corrections, notes, limits, keys and what was refused are compared to the last
    bit. Stations may run meanwhile. What one of them has pruned is left out. Without --until,
    a machine that is behind the other's streams is waited for.

    The exit status is 0 if they are equal, 1 if they differ, and 2 if that can't be said.

    \b
    Examples:
      tmon compare tmon.db /media/usb/tmon/tmon-2026-11-25T030000Z.db --until 2026-11-25
      tmon compare https://one.example.org https://two.example.org
      tmon compare tmon.db https://two.example.org --remember       daily, by cron or systemd
    """
    if not (a and b):
        raise click.UsageError("A or B is empty: each is a database file or an address")
    own = _own_file(a) if remember else None
    with Pair(a, b) as pair:
        if until_ms is None:
            catch_up(pair, _tell)
            until_ms = now_ms() - SETTLED_MS
        with progress_bar(count_readings(pair)) as bar:
            found = compare_stations(pair, until_ms, bar.update)
    if own:
        remember_comparison(own, found, now_ms())
    if as_json:
        click.echo(json.dumps(_as_json(found), ensure_ascii=False))
    else:
        _print(found)
    sys.exit(0 if found.is_equal else DIFFER)


def _own_file(a: str) -> Path:
    """A as the file of this station, into which the result may be written."""
    own = station({}).db
    if not (own.exists() and Path(a).exists() and own.samefile(a)):
        raise click.UsageError(f"--remember: A must be this station's file, {own} (TMON_DB)")
    return own


def _tell(state: str) -> None:
    if sys.stderr.isatty():
        click.echo(f"waiting: {state} …", err=True)


def _print(found: Comparison) -> None:
    until = f"measured before {iso(found.until_ms)}"
    if found.pruned:
        click.echo(
            f"left out: what either has pruned, of {pluralize(found.pruned, 'sensor')}", err=True
        )
    if found.is_equal:
        equal = found.equal_rows
        click.echo(
            f"equal: {pluralize(equal.get('readings', 0), 'reading')} {until},"
            f" {pluralize(equal.get('sensors', 0), 'sensor')},"
            f" {pluralize(equal.get('nodes', 0), 'node')}"
        )
        return
    click.echo(f"A: {found.names[0]}\nB: {found.names[1]}\nreadings {until}\n")
    for table, difference in found.differences.items():
        click.echo(f"{table}: {_counted(difference.counts)}")
        for place, counts in difference.places.items():
            label = printable(found.labels.get(place.sensor, f"sensor {place.sensor}"))
            click.echo(f"  {label}, {iso(place.day_ms)[:10]}: {_counted(counts)}")
        if difference.more_places:
            click.echo(f"  and {pluralize(difference.more_places, 'more day')}")
        for example in difference.examples:
            click.echo(f"  for example {_name(found, table, example)}: {_values(example)}")
    if any(found.lag):
        a, b = (pluralize(behind, "message") for behind in found.lag)
        click.echo(f"\nthe stream: A is {a} behind B, and B {b} behind A, which may be the reason")


def _counted(counts: Counts) -> str:
    numbers = {
        "only in A": counts.only_in_a,
        "only in B": counts.only_in_b,
        "with other values": counts.other_values,
    }
    return ", ".join(f"{number:,} {what}" for what, number in numbers.items() if number)


def _name(found: Comparison, table: str, example: Example) -> str:
    if table != "readings":
        return printable(" ".join(map(str, example.key)))
    sensor, measured_ms = map(int, example.key)
    return printable(f"{found.labels.get(sensor, f'sensor {sensor}')} {iso(measured_ms)}")


def _values(example: Example) -> str:
    def text(row: dict[str, Any] | None) -> str:
        if row is None:
            return "none"
        return printable(", ".join(f"{name} {value!r}" for name, value in row.items()))

    return f"A {text(example.ours)}; B {text(example.theirs)}"


def _as_json(found: Comparison) -> dict[str, Any]:
    tables = {
        name: {
            **asdict(difference.counts),
            "days": [
                {
                    "sensor": place.sensor,
                    "label": found.labels.get(place.sensor),
                    "day": iso(place.day_ms)[:10],
                    **asdict(counts),
                }
                for place, counts in difference.places.items()
            ],
            "more_days": difference.more_places,
            "examples": [
                {
                    "key": dict(zip(difference.key, one.key, strict=True)),
                    "a": one.ours,
                    "b": one.theirs,
                }
                for one in difference.examples
            ],
        }
        for name, difference in found.differences.items()
    }
    return {
        "equal": found.is_equal,
        "a": found.names[0],
        "b": found.names[1],
        "until_ms": found.until_ms,
        "equal_rows": found.equal_rows,
        "sensors_pruned": found.pruned,
        "differences": tables,
        "lag": found.lag,
    }
