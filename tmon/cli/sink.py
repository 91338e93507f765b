"""`tmon sink`."""

import click

from tmon.cli.options import station, takes
from tmon.serve import processes


@click.command()
@takes("db", "begin_anew", "stream", "stream_credentials", "stream_ca", "log_level", "log_format")
@click.option("--fds", "lifeline", type=int, hidden=True, help="a lifeline, handed over")
def sink(lifeline: int | None, **flags: str | None) -> None:
    """Store in this machine's file what the NATS streams bring (docs/cluster.md).

    \b
    Examples:
      tmon sink
    """
    processes.serve_sink(station(flags), lifeline)
