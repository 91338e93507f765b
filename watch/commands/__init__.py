"""What `tmon` can do beside taking readings in: each module has its commands."""

import click

from watch.commands import ahead, backup, care, check, correct, imports, limit, mute, retention

COMMANDS: tuple[click.Command, ...] = (
    check.check,
    limit.limit,
    mute.mute,
    backup.backup,
    backup.restore,
    care.sensor,
    imports.imports,
    correct.calibrate,
    correct.flag,
    retention.compact,
    retention.prune,
    ahead.remove_ahead,
    retention.rollup,
    retention.stats,
)
OF_NODE: tuple[click.Command, ...] = (care.rename_node,)  # under `tmon node`, beside ingest's
