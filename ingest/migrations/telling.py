"""Since when somebody could not be told."""

from sqlite_utils import Database

from ingest.migrations.registry import migrations, run


@migrations(name="0007_telling")
def _telling(db: Database) -> None:
    run(db, "alter table channels add column failed_ms integer;")
