"""What `tmon` can do beside taking readings in: each module has its commands."""

import click

COMMANDS: tuple[click.Command, ...] = ()
OF_NODE: tuple[click.Command, ...] = ()  # under `tmon node`, beside those of ingest
