"""``tmon note``."""

from typing import Any

import click

from tmon.cli.opening import open_here, open_to_change
from tmon.cli.options import Commands, show, station, takes
from tmon.cli.options import as_json as as_json_option
from tmon.cli.params import INSTANT
from tmon.core.time import iso, now_ms
from tmon.maintenance import notes


class NoteCommands(Commands):
    """A group of which ``note NODE TEXT`` means ``note add NODE TEXT``."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in self.commands:
            args = ["add", *args]
        return super().resolve_command(ctx, args)


@click.group(cls=NoteCommands)
def note() -> None:
    """Say what happened, and when: charts show it.

    \b
    Examples:
      tmon note attic "window replaced" --at 2026-03-01T14:00+01:00
      tmon note attic/temperature "moved to the north wall"
      tmon note list attic
      tmon note remove 3
    """


@note.command()
@click.argument("about", metavar="NODE[/SENSOR]")
@click.argument("text")
@click.option("--at", "at_ms", type=INSTANT, metavar="DATE", help="[default: now]")
@takes("db")
def add(about: str, text: str, at_ms: int | None, **flags: str | None) -> None:
    """Add a note about a node or a sensor; `add` may be left out.

    Everybody can read it. Dates without a time are midnight, UTC.

    \b
    Example:
      tmon note add attic "window replaced" --at 2026-03-01
    """
    at_ms = now_ms() if at_ms is None else at_ms
    with open_to_change(station(flags)) as db:
        number = notes.add_note(db, about, text, at_ms, now_ms())
    click.echo(f"{about}: note {number}, at {iso(at_ms)}")


@note.command("list")
@click.argument("about", metavar="[NODE[/SENSOR]]", required=False)
@as_json_option
@takes("db")
def list_(about: str | None, *, as_json: bool, **flags: str | None) -> None:
    """List all notes, or those about a node with its sensors, or about one sensor.

    \b
    Example:
      tmon note list attic/temperature
    """
    with open_here(station(flags)) as db:
        show(notes.listed(db, about), as_json=as_json)


@note.command()
@click.argument("number", type=int)
@takes("db")
def remove(number: int, **flags: str | None) -> None:
    """Remove the note of this NUMBER, which `tmon note list` shows.

    \b
    Example:
      tmon note remove 3
    """
    with open_to_change(station(flags)) as db:
        click.echo(f"removed: {notes.remove_note(db, number)}")
