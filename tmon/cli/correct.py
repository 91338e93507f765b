"""`tmon calibrate` and `tmon flag`."""

import click

from tmon.cli.opening import open_here, open_to_change
from tmon.cli.options import as_json as as_json_option
from tmon.cli.options import show, station, takes
from tmon.cli.params import INSTANT
from tmon.core.time import FIRST_MS, now_ms
from tmon.db.lookup import find_sensor
from tmon.maintenance import corrections
from tmon.maintenance.corrections import Calibration, Period

_list = click.option("--list", "listed", is_flag=True, help="show them")


@click.command()
@click.argument("node")
@click.argument("sensor")
@click.option("--offset", type=float, help="what is added, in the sensor's unit [default: 0]")
@click.option("--scale", type=float, help="what a value is multiplied by first [default: 1]")
@click.option("--from", "from_ms", type=INSTANT, metavar="DATE", help="[default: the beginning]")
@click.option("--reason", metavar="TEXT", help="why; everybody can read it")
@_list
@click.option("--remove", is_flag=True, help="remove the calibration from DATE on")
@as_json_option
@takes("db")
def calibrate(  # noqa: PLR0913, PLR0917 - one for each option
    node: str,
    sensor: str,
    offset: float | None,
    scale: float | None,
    from_ms: int | None,
    reason: str | None,
    listed: bool,
    remove: bool,
    as_json: bool,
    **flags: str | None,
) -> None:
    """Correct the readings of SENSOR of NODE to value * scale + offset, from a date on.

    It is valid until the sensor's next calibration. Raw readings are never
    changed: pages show the corrected values and say so, raw ones are a click away.

    \b
    Examples:
      tmon calibrate basement temperature --offset -0.4
      tmon calibrate basement temperature --offset 0.1 --scale 1.02 --from 2026-06-01 \\
          --reason "checked in ice water"
      tmon calibrate basement temperature --list
      tmon calibrate basement temperature --remove --from 2026-06-01
    """
    numbers = offset is not None or scale is not None
    _one_of(numbers, listed, remove, "say --offset or --scale, or else --list or --remove")
    since_ms = FIRST_MS if from_ms is None else from_ms
    opened = open_here if listed else open_to_change
    with opened(station(flags)) as db:
        subject = find_sensor(db, node, sensor)
        if listed:
            show(corrections.calibrations(db, subject), as_json=as_json)
        elif remove:
            click.echo(f"removed: {corrections.remove_calibration(db, subject, since_ms)}")
        else:
            scale, offset = 1.0 if scale is None else scale, 0.0 if offset is None else offset
            new = Calibration(since_ms, scale, offset, reason)
            if replaced := corrections.calibrate(db, subject, new, now_ms()):
                click.echo(f"replaces: {replaced}", err=True)
            click.echo(f"{node} {sensor}: {new}")


@click.command()
@click.argument("node")
@click.argument("sensor")
@click.option("--from", "from_ms", type=INSTANT, metavar="DATE", help="when it begins")
@click.option("--to", "to_ms", type=INSTANT, metavar="DATE", help="when it ends")
@click.option("--reason", metavar="TEXT", help="what was wrong; everybody can read it")
@_list
@click.option("--remove", type=int, metavar="ID", help="take a flag back")
@as_json_option
@takes("db")
def flag(  # noqa: PLR0913, PLR0917 - one for each option
    node: str,
    sensor: str,
    from_ms: int | None,
    to_ms: int | None,
    reason: str | None,
    listed: bool,
    remove: int | None,
    as_json: bool,
    **flags: str | None,
) -> None:
    """Flag a bad period of SENSOR of NODE: pages and clean views leave it out.

    Raw readings are never changed. Dates without a time are midnight, UTC.

    \b
    Examples:
      tmon flag basement temperature --from 2026-03-01 --to 2026-03-04T12:00Z \\
          --reason "fell behind the boiler"
      tmon flag basement temperature --list
      tmon flag basement temperature --remove 3
    """
    period = from_ms is not None or to_ms is not None
    ways = "say --from, --to and --reason, or else --list or --remove ID"
    _one_of(period, listed, remove is not None, ways)
    opened = open_here if listed else open_to_change
    with opened(station(flags)) as db:
        subject = find_sensor(db, node, sensor)
        if listed:
            show(corrections.flags(db, subject), as_json=as_json)
        elif remove is not None:
            corrections.remove_flag(db, subject, remove)
            click.echo(f"removed: flag {remove}")
        elif from_ms is None or to_ms is None or reason is None:
            raise click.UsageError(ways)
        else:
            number = corrections.flag(db, subject, Period(from_ms, to_ms, reason), now_ms())
            begins, ends = corrections.format_time(from_ms), corrections.format_time(to_ms)
            click.echo(f"{node} {sensor}: flag {number}, from {begins} to {ends}")


def _one_of(first: bool, second: bool, third: bool, ways: str) -> None:
    if first + second + third != 1:
        raise click.UsageError(ways)
