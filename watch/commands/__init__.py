"""What `tmon` can do beside taking readings in: each module has its commands."""

import click

from watch.commands import backup, check, correct, limit, mute

COMMANDS: tuple[click.Command, ...] = (
    check.check,
    limit.limit,
    mute.mute,
    backup.backup,
    backup.restore,
    correct.calibrate,
    correct.flag,
)
OF_NODE: tuple[click.Command, ...] = ()  # under `tmon node`, beside those of ingest
