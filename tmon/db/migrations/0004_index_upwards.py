from sqlite_utils import Database

from tmon.db.migrations.registry import migrations, run


@migrations(name="0004_index_upwards")
def _index(db: Database) -> None:
    """Index times upwards: an index that grows at its end fills its pages."""
    run(
        db,
        """
        drop index readings_measured_ms;
        create index readings_measured_ms on readings (measured_ms, sensor desc);
    """,
    )
