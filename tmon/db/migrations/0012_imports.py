"""Imports, and which readings each of them stored."""

from sqlite_utils import Database

from tmon.db.migrations.registry import migrations, run


@migrations(name="0012_imports")
def _imports(db: Database) -> None:
    run(
        db,
        """
        create table imports (
            id integer primary key,
            file text not null,
            sha256 text,
            started_ms integer not null,
            ended_ms integer,
            node text references nodes (name) on update cascade,
            stored integer not null default 0,
            already_there integer,
            rejected integer,
            first_ms integer,
            last_ms integer,
            note text,
            taken_back integer not null default 0,
            undone_ms integer
        ) strict;

        -- A run: readings of one sensor that an import stored, with no other reading among them.
        -- Its count is 0 where nobody can tell any more which readings those are.
        create table import_runs (
            id integer primary key,
            import integer not null references imports (id),
            sensor integer not null references sensors (id),
            first_ms integer not null,
            last_ms integer not null check (last_ms >= first_ms),
            count integer not null check (count >= 0)
        ) strict;

        create index import_runs_sensor on import_runs (sensor, import, first_ms);
    """,
    )
