"""For alerts: since when a channel fails, and how severe an incident was when it was sent."""

from sqlite_utils import Database

from tmon.db.migrations.registry import migrations, run


@migrations(name="0007_telling")
def _telling(db: Database) -> None:
    run(
        db,
        """
        -- Since when nobody could be told by it.
        alter table channels add column failed_ms integer;

        -- An incident may become worse; what was told of it before must stay the same.
        alter table events add column severity text check (severity in ('warning', 'critical'));

        create trigger events_severity after insert on events when new.severity is null begin
            update events
            set severity = (select severity from incidents where id = new.incident)
            where id = new.id;
        end;
    """,
    )
