"""The program ``tmon`` and its commands; each group's are in a module of their own."""

import click

from tmon.cli import (
    ahead,
    backup,
    check,
    compare,
    correct,
    demo,
    devices,
    import_command,
    imports,
    keys,
    limit,
    mqtt,
    mute,
    nodes,
    note,
    parquet,
    report,
    retention,
    sensors,
    serve,
    sink,
    stream,
    tokens,
)
from tmon.cli.options import Commands


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tmon")
def main() -> None:
    """Many small sensors, one SQLite file you own, published for everyone.

    \b
    Examples:
      tmon serve                     take readings in, and publish them
      tmon token get basement        a token for the node called basement
    """


for _command in (
    serve.serve,
    sink.sink,
    stream.stream,
    tokens.token,
    keys.key,
    devices.device,
    nodes.node,
    sensors.sensor,
    import_command.import_,
    imports.imports,
    demo.demo,
    check.check,
    report.report,
    limit.limit,
    mqtt.mqtt,
    mute.mute,
    note.note,
    backup.backup,
    backup.restore,
    compare.compare,
    parquet.parquet,
    correct.calibrate,
    correct.flag,
    retention.compact,
    retention.prune,
    ahead.remove_ahead,
    retention.rollup,
    retention.stats,
):
    main.add_command(_command)
