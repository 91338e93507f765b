"""`tmon stream`: the NATS streams of a station on several machines."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from tmon.cli.opening import open_here
from tmon.cli.options import as_json, progress_bar, show, station, takes
from tmon.cli.params import NumberRange
from tmon.core.errors import CannotServe
from tmon.core.settings import Settings
from tmon.db.connect import open_migrated_for_reading
from tmon.db.tokens import open_station

if TYPE_CHECKING:
    from nats.aio.client import Client

    from tmon.stream.positions import Position
    from tmon.stream.streams import StreamState

takes_streams = takes("db", "begin_anew", "stream", "stream_credentials", "stream_ca")


@click.group()
def stream() -> None:
    """Create and show the NATS streams of a station on several machines (docs/cluster.md)."""


@stream.command()
@takes_streams
@click.option(
    "--replicas",
    type=click.Choice(["1", "3", "5"]),
    default="3",
    help="servers that keep each reading [default: 3]",
)
@click.option("--days", type=click.IntRange(1, 3650), default=7, help="how long [default: 7]")
@click.option(
    "--gigabytes",
    type=NumberRange(0.1, 100_000),
    default=32.0,
    help="how much; when they are full, nodes have to keep their readings [default: 32]",
)
@click.option("--again", is_flag=True, help="remove what is left of earlier streams first")
@click.option("--force", is_flag=True, help="with --again: even messages that no sink has stored")
def create(
    replicas: str, days: int, gigabytes: float, *, again: bool, force: bool, **flags: str | None
) -> None:
    """Create the streams, on the machine with whose file the cluster begins.

    Stop `tmon serve` first. From then on the file takes readings from the streams only, by
    `tmon sink`.

    \b
    Examples:
      tmon stream create                  for three servers or more
      tmon stream create --replicas 1     for one, to try it
      tmon stream create --again          when the servers have lost their files
    """
    from tmon.stream import first_file  # noqa: PLC0415 - nats is imported if needed
    from tmon.stream.connection import ask  # noqa: PLC0415
    from tmon.stream.stream_config import Options, remove  # noqa: PLC0415

    settings = _station(flags)
    options = Options(int(replicas), days, gigabytes)

    async def begin(client: "Client") -> None:
        with open_station(settings) as db:
            if again:
                if not force:
                    await first_file.refuse_others(db, client)
                    await first_file.refuse_unread(db, client)
                await remove(client)
                first_file.leave_cluster(db)
            await first_file.begin_cluster(db, settings.db, client, options, progress_bar)

    ask(settings, "stream create", begin)
    click.echo(
        f"created; {settings.db} is the cluster's first file: back it up for the other machines, "
        "and start `tmon sink` and `tmon serve`"
    )


@stream.command()
@takes_streams
@click.option("--force", is_flag=True, help="even if there are messages that it lacks, or no NATS")
def leave(*, force: bool, **flags: str | None) -> None:
    """Let this machine's file be that of a station on one machine again.

    Stop everything that uses the file first, and unset TMON_STREAM afterwards.

    \b
    Examples:
      tmon stream leave
    """
    from tmon.stream import first_file  # noqa: PLC0415
    from tmon.stream.connection import ask  # noqa: PLC0415
    from tmon.stream.positions import read_positions  # noqa: PLC0415

    settings = _station(flags)
    with open_here(settings) as db:
        if not read_positions(db):
            raise CannotServe(f"{settings.db} is of one machine already: unset TMON_STREAM")
        if not force:
            ask(settings, "stream leave", partial(first_file.refuse_unread, db))
        first_file.leave_cluster(db)
    click.echo(f"{settings.db} is of one machine again: unset TMON_STREAM, and start `tmon serve`")


@stream.command("set")
@takes_streams
@click.option("--replicas", type=click.Choice(["1", "3", "5"]), help="servers that keep each")
@click.option("--days", type=click.IntRange(1, 3650), help="how long")
@click.option("--gigabytes", type=NumberRange(0.1, 100_000), help="how much")
def set_(
    replicas: str | None, days: int | None, gigabytes: float | None, **flags: str | None
) -> None:
    """Change how the servers keep the streams; what isn't given stays. Readings go on.

    \b
    Examples:
      tmon stream set --days 14 --gigabytes 100
    """
    from tmon.stream.connection import ask  # noqa: PLC0415
    from tmon.stream.stream_config import change  # noqa: PLC0415

    if not (replicas or days or gigabytes):
        raise click.UsageError("nothing to change: give --replicas, --days or --gigabytes")
    ask(
        _station(flags),
        "stream set",
        lambda client: change(client, int(replicas or 0), days or 0, gigabytes or 0),
    )


@stream.command()
@takes_streams
@as_json
def status(*, as_json: bool, **flags: str | None) -> None:
    """Show each partition's stream, and how far this machine's file is behind.

    \b
    Examples:
      tmon stream status
      tmon stream status --json
    """
    from tmon.stream.connection import ask  # noqa: PLC0415
    from tmon.stream.positions import read_positions  # noqa: PLC0415
    from tmon.stream.reader import PATIENCE_S, checked_states  # noqa: PLC0415

    settings = _station(flags)
    positions: list[Position] = []
    if settings.db.exists():
        with open_migrated_for_reading(settings.db) as db:
            positions = read_positions(db)
    states = ask(
        settings, "stream status", lambda client: checked_states(client, positions, PATIENCE_S)
    )
    if not positions:
        click.echo(f"{settings.db} isn't a file of this cluster", err=True)
    show(_rows(states, positions), as_json=as_json)


def _rows(states: "Sequence[StreamState]", positions: "Sequence[Position]") -> list[dict[str, Any]]:
    stored = {one.partition: one.sequence for one in positions}
    return [
        {
            "partition": state.partition,
            "first": state.first,
            "last": state.last,
            "behind": state.last - stored[state.partition] if stored else None,
            "full_percent": round(100 * state.bytes / state.max_bytes, 1),
            "replicas": state.replicas,
            "leader": state.leader,
            "not_current": ", ".join(state.behind),
        }
        for state in states
    ]


def _station(flags: dict[str, str | None]) -> Settings:
    settings = station(flags)
    if not settings.stream:
        raise CannotServe("TMON_STREAM isn't set: where are the NATS servers?")
    return settings
