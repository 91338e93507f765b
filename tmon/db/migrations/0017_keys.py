"""Keys: short credentials for devices that have no room for a token. Only their tags are secret."""

from sqlite_utils import Database

from tmon.db.migrations.registry import migrations, run


@migrations(name="0017_keys")
def _keys(db: Database) -> None:
    run(
        db,
        """
        -- A key is its id and a tag under the station's secret, which isn't stored.
        create table keys (
            id text primary key not null check (length(id) = 12),
            node_uid text unique references nodes (uid),
            gateway text unique,
            -- Of a gateway: whether it names nodes itself, and whether all devices become nodes.
            names_nodes integer not null default 0,
            adopts_all integer not null default 0,
            generation integer not null default 1,
            created_ms integer not null,
            revoked_ms integer,
            check ((node_uid is null) <> (gateway is null))
        ) strict;
    """,
    )
