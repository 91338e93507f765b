"""``tmon limit``."""

import click

from tmon.cli.opening import open_here, open_to_change
from tmon.cli.options import as_json, show, station, takes
from tmon.cli.params import LENGTH
from tmon.core.time import now_ms
from tmon.db.lookup import find_sensor
from tmon.watch import sensor_limits
from tmon.watch.sensor_limits import LimitChange


@click.command()
@click.argument("node", required=False)
@click.argument("sensor", required=False)
@click.option("--above", type=float, metavar="VALUE", help="values above it are too high")
@click.option("--below", type=float, metavar="VALUE", help="values below it are too low")
@click.option("--for", "for_s", type=LENGTH, metavar="LENGTH", help="for how long they may be")
@click.option("--hysteresis", type=float, metavar="VALUE", help="how far they must come back")
@click.option("--remove", is_flag=True, help="take the sensor's limit away")
@click.option("--list", "listed", is_flag=True, help="show all limits")
@as_json
@takes("db")
def limit(  # noqa: PLR0913, PLR0917 - one for each option
    node: str | None,
    sensor: str | None,
    above: float | None,
    below: float | None,
    for_s: int | None,
    hysteresis: float | None,
    remove: bool,
    listed: bool,
    as_json: bool,
    **flags: str | None,
) -> None:
    """Set limits for SENSOR of NODE; `tmon check` says when its values exceed them.

    A finding begins once values exceed a limit for LENGTH, and ends once one is back within
    it by the hysteresis. Flags that aren't given keep their value.

    \b
    Examples:
      tmon limit basement temperature --above 30 --below 2 --for 10m --hysteresis 0.5
      tmon limit basement temperature --above 28
      tmon limit basement temperature --remove
      tmon limit --list
    """
    change = LimitChange(below, above, for_s, hysteresis)
    changes = any(one is not None for one in change)
    if [listed, remove, changes].count(True) != 1:
        raise click.UsageError("say what the limit is, or else --remove or --list")
    if listed is (node is not None) or (node is not None and sensor is None):
        raise click.UsageError("say a node and its sensor, or only --list")
    opened = open_here if listed else open_to_change
    with opened(station(flags)) as db:
        if listed:
            show(sensor_limits.listed(db), as_json=as_json)
            return
        found = find_sensor(db, str(node), str(sensor))
        if remove:
            sensor_limits.remove(db, found)
        else:
            sensor_limits.set_limit(db, found, change, now_ms())
