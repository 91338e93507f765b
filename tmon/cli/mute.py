"""``tmon mute``."""

import click

from tmon.cli.opening import open_here, open_to_change
from tmon.cli.options import as_json, show, station, takes
from tmon.cli.params import LENGTH
from tmon.core.time import now_ms
from tmon.watch import mutes


@click.command()
@click.argument("what", required=False)
@click.argument("length", type=LENGTH, required=False)
@click.option("--end", is_flag=True, help="send alerts about WHAT again")
@click.option("--list", "listed", is_flag=True, help="show what is muted")
@as_json
@takes("db")
def mute(
    what: str | None,
    length: int | None,
    *,
    end: bool,
    listed: bool,
    as_json: bool,
    **flags: str | None,
) -> None:
    """Send no alerts about WHAT for LENGTH: a node, NODE/SENSOR, or a finding's number.

    `tmon check` still shows its findings, as muted. Those that last longer are sent then.

    \b
    Examples:
      tmon mute basement 2h
      tmon mute basement/temperature 30d
      tmon mute T13 10y
      tmon mute --end basement
      tmon mute --list
    """
    if (listed, end, length is not None).count(True) != 1 or listed is (what is not None):
        raise click.UsageError("say what and for how long, or what to --end, or only --list")
    opened = open_here if listed else open_to_change
    with opened(station(flags)) as db:
        if listed:
            show(mutes.listed(db, now_ms()), as_json=as_json)
        elif end:
            mutes.end(db, str(what), now_ms())
        else:
            mutes.mute(db, str(what), now_ms() + (length or 0) * 1000, now_ms())
