"""What `tmon` can do beside taking readings in: each module has its commands."""

import click

from watch.commands import correct

COMMANDS: tuple[click.Command, ...] = (correct.calibrate, correct.flag)
OF_NODE: tuple[click.Command, ...] = ()  # under `tmon node`, beside those of ingest
