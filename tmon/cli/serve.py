"""`tmon serve`."""

import click

from tmon.cli.options import environ_with, station, takes
from tmon.core.settings import SERVED


@click.command()
@click.argument("part", type=click.Choice(["ingest", "datasette"]), required=False)
@takes(*SERVED)
@click.option("--fds", type=(int, int), hidden=True, help="a socket and a lifeline, handed over")
def serve(part: str | None, fds: tuple[int, int] | None, **flags: str | None) -> None:
    """Receive readings and publish them, or do just one of the two.

    \b
    Examples:
      tmon serve
      tmon serve --host 0.0.0.0      so that nodes in the network can reach it
      tmon serve ingest              one of the two, for systemd
      tmon serve datasette           the other
    """
    from tmon.serve import processes  # noqa: PLC0415 - no other command needs a web server

    settings = station(flags)
    if fds:
        processes.serve_datasette_child(settings, *fds)
    elif part:
        processes.serve_one(part, settings, click.echo)
    else:
        processes.serve_both(settings, environ_with(flags), click.echo)
