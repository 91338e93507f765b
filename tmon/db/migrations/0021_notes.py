"""Notes of people about a node or a sensor, which charts show."""

from sqlite_utils import Database

from tmon.db.migrations.registry import migrations, run


@migrations(name="0021_notes")
def _notes(db: Database) -> None:
    run(
        db,
        """
        create table notes (
            id integer primary key,
            node text references nodes (name) on update cascade,
            sensor integer references sensors (id),
            at_ms integer not null,
            text text not null,
            created_ms integer not null,
            check ((node is null) <> (sensor is null))
        ) strict;

        create index notes_node on notes (node, at_ms) where node is not null;
        create index notes_sensor on notes (sensor, at_ms) where sensor is not null;
    """,
    )
