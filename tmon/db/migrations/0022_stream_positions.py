"""How far a file of a cluster has stored each partition of the streams."""

from sqlite_utils import Database

from tmon.db.migrations.registry import migrations, run


@migrations(name="0022_stream_positions")
def _stream_positions(db: Database) -> None:
    """There are rows only in the file of a cluster, one for each partition.

    ``last_seen_sequence`` is behind ``sequence`` by at most a minute: the columns of ``nodes``
    that are for people are written less often. The next ids are those of this partition: they
    leave room for the others, so that they are the same in all files.
    """
    run(
        db,
        """
        create table stream_positions (
            partition integer primary key,
            snapshot text not null,
            created text not null,
            sequence integer not null default 0,
            last_seen_sequence integer not null default 0,
            change integer not null default 0,
            next_sensor integer not null,
            next_rejected integer not null
        ) strict;
    """,
    )
