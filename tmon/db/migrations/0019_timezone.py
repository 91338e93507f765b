"""A node's time zone, for the times of devices that say none."""

from sqlite_utils import Database

from tmon.db.migrations.registry import migrations, run


@migrations(name="0019_timezone")
def _timezone(db: Database) -> None:
    run(db, "alter table nodes add column timezone text;\n")
