from sqlite_utils import Database

from tmon.db.migrations.registry import DAY_MS, floor, migrations, run


@migrations(name="0002_latest_daily")  # its `latest` is the next one's now
def _daily(db: Database) -> None:
    run(
        db,
        f"""
        create view daily as
        select
            sensor,
            {floor("hour_ms", DAY_MS)} as day_ms,
            date(hour_ms / 1000, 'unixepoch') as day,
            sum(n) as n, sum(sum) / sum(n) as mean, min(min) as min, max(max) as max,
            sum(sum) as sum
        from hourly
        group by sensor, day_ms;
    """,
    )
