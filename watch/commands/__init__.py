"""What `tmon` can do beside taking readings in: each module has its commands."""

import click

from watch.commands import care, correct, retention

COMMANDS: tuple[click.Command, ...] = (
    care.sensor,
    correct.calibrate,
    correct.flag,
    retention.prune,
    retention.rollup,
    retention.stats,
)
OF_NODE: tuple[click.Command, ...] = (care.rename_node,)  # under `tmon node`, beside ingest's
