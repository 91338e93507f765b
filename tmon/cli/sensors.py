"""`tmon sensor list|set|rename|move|replace`."""

import click

from tmon.cli.opening import open_here, open_to_change
from tmon.cli.options import as_json as as_json_option
from tmon.cli.options import progress_bar, show, station, takes
from tmon.core.time import now_ms
from tmon.maintenance import names, replace, sensors


@click.group()
def sensor() -> None:
    """Sensors: described, listed; renamed, moved and replaced with their history."""


@sensor.command("list")
@click.option("--node", metavar="NAME", help="of this node alone")
@as_json_option
@takes("db")
def list_(node: str | None, as_json: bool, **flags: str | None) -> None:
    """List the sensors with their descriptions and latest readings.

    \b
    Examples:
      tmon sensor list
      tmon sensor list --node basement --json
    """
    with open_here(station(flags)) as db:
        show(sensors.described(db, node), as_json=as_json)


@sensor.command("set")
@click.argument("node")
@click.argument("name", metavar="SENSOR")
@click.option("--title", metavar="TEXT", help="what pages call it; '' for its name")
@click.option("--description", metavar="TEXT", help="where it is, what it is for")
@click.option(
    "--quantity", metavar="TEXT", help="what it measures, such as temperature; switch: 0 is off"
)
@click.option("--unit", metavar="UNIT", help="where it has none yet")
@click.option(
    "--allow-85/--refuse-85", default=None, help="store a sudden 85.0 °C; or refuse it, as usual"
)
@takes("db")
def set_(  # noqa: PLR0913, PLR0917 - one for each option
    node: str,
    name: str,
    title: str | None,
    description: str | None,
    quantity: str | None,
    unit: str | None,
    allow_85: bool | None,
    **flags: str | None,
) -> None:
    """Describe a sensor; everybody can read it.

    A unit can only be given to a sensor without one: stored values don't change. A sudden
    85.0 °C is refused, as it is what a DS18B20 answers after its power failed; --allow-85
    says that this sensor does measure such jumps.

    \b
    Examples:
      tmon sensor set basement temperature --title "Return pipe"
      tmon sensor set basement temperature --description "on the return pipe"
      tmon sensor set basement load1 --quantity "load average" --unit 1
      tmon sensor set kitchen oven --allow-85
    """
    columns = {
        "title": title,
        "description": description,
        "quantity": quantity,
        "unit": unit,
        "allow_85": None if allow_85 is None else int(allow_85),
    }
    given = {column: value for column, value in columns.items() if value is not None}
    if not given:
        raise click.UsageError("say --title, --description, --quantity, --unit or --allow-85")
    with open_to_change(station(flags)) as db:
        sensors.describe(db, node, name, given)


@sensor.command("rename")
@click.argument("node")
@click.argument("old")
@click.argument("new")
@takes("db")
def rename(node: str, old: str, new: str, **flags: str | None) -> None:
    """Rename the sensor OLD of NODE to NEW.

    Its history stays, and the node may go on sending the old name.

    \b
    Example:
      tmon sensor rename basement 28-00000a1b2c3d return-pipe
    """
    with open_to_change(station(flags)) as db:
        names.rename_sensor(db, node, old, new, now_ms())
    click.echo(f"{node} {old} is called {new} now; {node} may go on sending {old}", err=True)


@sensor.command("move")
@click.argument("node")
@click.argument("name", metavar="SENSOR")
@click.option("--to", required=True, metavar="NODE", help="whose it is to be")
@click.option("--name", "new_name", metavar="NAME", help="what it is called there")
@takes("db")
def move(node: str, name: str, to: str, new_name: str | None, **flags: str | None) -> None:
    """Move SENSOR of NODE to another node, with its history.

    Readings that the other node sends under its name continue that history, and so do
    those that NODE hasn't sent yet.

    \b
    Examples:
      tmon sensor move attic 28-00000a1b2c3d --to cellar
      tmon sensor move attic temperature --to cellar --name freezer
    """
    with open_to_change(station(flags)) as db:
        names.move_sensor(db, node, name, to, new_name, now_ms())
    click.echo(f"{node} {name} is {to} {new_name or name} now, with its history", err=True)


@sensor.command("replace")
@click.argument("node")
@click.argument("name", metavar="SENSOR")
@click.option("--by", "wire_name", required=True, metavar="NAME", help="as NODE sends the new one")
@takes("db")
def replace_(node: str, name: str, wire_name: str, **flags: str | None) -> None:
    """Continue SENSOR's history with a new probe of NODE.

    If the probe has already reported as a sensor of its own, those readings join the
    history. SENSOR keeps its limits; the old probe's calibration ends.

    \b
    Example:
      tmon sensor replace basement return-pipe --by 28-00000d4e5f60
    """
    with open_to_change(station(flags)) as db:
        waiting = replace.readings_to_take(db, node, wire_name)
        with progress_bar(waiting) as bar:
            merged = replace.replace(db, node, name, wire_name, now_ms(), bar.update)
    click.echo(f"{node} {name} goes on as {wire_name}; {merged.taken:,} readings taken over")
    if merged.left:
        raise click.ClickException(
            f"{merged.left:,} readings stay where they were: there are others of the same "
            f"instants; `tmon sensor list --node {node}` shows their sensor"
        )
