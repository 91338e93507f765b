"""What `tmon` can do beside taking readings in: each module has its commands."""

import click

from watch.commands import check, correct, limit, mute

COMMANDS: tuple[click.Command, ...] = (
    check.check,
    limit.limit,
    mute.mute,
    correct.calibrate,
    correct.flag,
)
OF_NODE: tuple[click.Command, ...] = ()  # under `tmon node`, beside those of ingest
