"""What `tmon` can do beside taking readings in: each module has its commands."""

import click

from watch.commands.backup import backup, restore

COMMANDS: tuple[click.Command, ...] = (backup, restore)
OF_NODE: tuple[click.Command, ...] = ()  # under `tmon node`, beside those of ingest
