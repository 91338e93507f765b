from sqlite_utils import Database

from tmon.db.migrations.registry import migrations, run


@migrations(name="0010_allow_85")
def _allow_85(db: Database) -> None:
    run(
        db,
        """
        -- 1: a sudden 85.0 °C is stored, which else is taken for the value after power-on.
        alter table sensors add column allow_85 integer not null default 0
            check (allow_85 in (0, 1));
    """,
    )
