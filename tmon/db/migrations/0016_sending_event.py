"""Drop ``channels.sending_event``: a message that failed is composed anew, so none is under way."""

from sqlite_utils import Database

from tmon.db.migrations.registry import migrations, run


@migrations(name="0016_sending_event")
def _sending_event(db: Database) -> None:
    run(db, "alter table channels drop column sending_event;")
