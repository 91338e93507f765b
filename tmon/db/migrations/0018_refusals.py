"""What was refused, as it was sent and by which gateway; how many devices wait for the owner."""

from sqlite_utils import Database

from tmon.db.migrations.registry import migrations, run


@migrations(name="0018_refusals")
def _refusals(db: Database) -> None:
    run(
        db,
        """
        -- node is empty for a whole request of a gateway, which may be of any device.
        alter table rejected add column gateway text;
        -- Null where sensor, measured and value are all that was sent.
        alter table rejected add column raw text;

        alter table keys add column devices_waiting integer not null default 0;
    """,
    )
