"""Say what the columns of alerts hold: ``told`` was a text in one table and a number in another."""

from sqlite_utils import Database

from tmon.db.migrations.registry import migrations, run


@migrations(name="0015_sent_events")
def _sent_events(db: Database) -> None:
    run(
        db,
        """
        alter table events rename column told to message;
        alter table channels rename column told to last_sent_event;
        alter table channels rename column telling to sending_event;
    """,
    )
