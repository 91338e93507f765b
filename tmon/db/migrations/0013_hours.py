"""Roll an hour up once it is over."""

from sqlite_utils import Database

from tmon.db.migrations.registry import DAY_MS, HOUR_MS, floor, migrations, run

_OF_HOUR = f"""from readings
                where readings.sensor = hours.sensor
                    and measured_ms >= hour_ms and measured_ms < hour_ms + {HOUR_MS}"""

_OF_CLEAN_HOUR = f"""from readings_clean as own
                where own.sensor = hours.sensor
                    and own.measured_ms >= hours.hour_ms
                    and own.measured_ms < hours.hour_ms + {HOUR_MS}"""

_DAYS_OF = f"""select
            sensor,
            {floor("hour_ms", DAY_MS)} as day_ms,
            date(hour_ms / 1000, 'unixepoch') as day,
            sum(n) as n, sum(sum) / sum(n) as mean, min(min) as min, max(max) as max,
            sum(sum) as sum
        from {{}}
        group by sensor, day_ms;"""


@migrations(name="0013_hours")
def _hours(db: Database) -> None:
    """Make ``hourly`` a view of ``hours``, whose rows are written twice instead of each minute.

    An hour's first reading inserts its row. While the hour is open, ``n`` to ``max`` are NULL,
    and the view computes them from ``readings``. Once it is over, ingest fills them in; a
    reading that comes later corrects them.

    A column can't be made nullable in place, so the rows are copied.
    """
    run(
        db,
        f"""
        drop view daily_clean;
        drop view hourly_clean;
        drop view daily;
        drop trigger readings_into_hourly;

        create table hours (
            sensor integer not null references sensors (id),
            hour_ms integer not null,
            n integer,
            sum real,
            min real,
            max real,
            primary key (sensor, hour_ms)
        ) without rowid, strict;
        insert into hours (sensor, hour_ms, n, sum, min, max)
            select sensor, hour_ms, n, sum, min, max from hourly;
        drop table hourly;
        create index hours_day on hours (sensor, {floor("hour_ms", DAY_MS)});
        create index hours_open on hours (hour_ms) where n is null;

        create trigger readings_into_hours after insert on readings begin
            insert into hours (sensor, hour_ms)
            values (new.sensor, {floor("new.measured_ms", HOUR_MS)})
            on conflict (sensor, hour_ms) do update set
                n = n + 1,
                sum = sum + new.value,
                min = min(min, new.value),
                max = max(max, new.value)
            where n is not null;
        end;

        create view hourly as
        select
            sensor, hour_ms,
            coalesce(n, (select count(*) {_OF_HOUR})) as n,
            coalesce(sum, (select sum(value) {_OF_HOUR})) as sum,
            coalesce(min, (select min(value) {_OF_HOUR})) as min,
            coalesce(max, (select max(value) {_OF_HOUR})) as max
        from hours
        where n is not null or exists (select 1 {_OF_HOUR});

        create view daily as
        {_DAYS_OF.format("hourly")}

        -- An hour is whole when it is closed, no flag touches it and no calibration begins
        -- within it: then what hours knows of it is enough. The others are computed from raw.
        create view hourly_clean as
        select
            hours.sensor, hours.hour_ms,
            coalesce(whole.n, (select count(*) {_OF_CLEAN_HOUR})) as n,
            coalesce(
                whole.sum * scale + whole.n * offset, whole.sum,
                (select sum(value) {_OF_CLEAN_HOUR})
            ) as sum,
            coalesce(
                iif(scale > 0, whole.min, whole.max) * scale + offset, whole.min,
                (select min(value) {_OF_CLEAN_HOUR})
            ) as min,
            coalesce(
                iif(scale > 0, whole.max, whole.min) * scale + offset, whole.max,
                (select max(value) {_OF_CLEAN_HOUR})
            ) as max
        from hours
        left join hours as whole
            on whole.sensor = hours.sensor and whole.hour_ms = hours.hour_ms
            and whole.n is not null
            and not exists (
                select 1 from flags
                where flags.sensor = hours.sensor
                    and to_ms > hours.hour_ms and from_ms < hours.hour_ms + {HOUR_MS}
            )
            and not exists (
                select 1 from calibrations as next
                where next.sensor = hours.sensor
                    and from_ms > hours.hour_ms and from_ms < hours.hour_ms + {HOUR_MS}
            )
        left join calibrations
            on calibrations.sensor = whole.sensor and calibrations.from_ms = (
                select from_ms from calibrations as valid
                where valid.sensor = whole.sensor and from_ms <= whole.hour_ms
                order by from_ms desc limit 1
            )
        where whole.n is not null or (
            not exists (
                select 1 from flags
                where flags.sensor = hours.sensor
                    and to_ms >= hours.hour_ms + {HOUR_MS} and from_ms <= hours.hour_ms
            )
            and exists (select 1 {_OF_CLEAN_HOUR})
        );

        create view daily_clean as
        {_DAYS_OF.format("hourly_clean")}
    """,
    )
