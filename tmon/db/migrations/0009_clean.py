"""Views of the readings with calibrations applied and flagged periods left out."""

from sqlite_utils import Database

from tmon.db.migrations.registry import DAY_MS, HOUR_MS, floor, migrations, run

# A reading's value by the calibration that is valid at its time, or as it is.
_CALIBRATED = """coalesce((
                select readings.value * scale + offset from calibrations
                where calibrations.sensor = readings.sensor
                    and calibrations.from_ms <= readings.measured_ms
                order by calibrations.from_ms desc limit 1
            ), readings.value)"""

_OF_HOUR = f"""from readings_clean as own
                where own.sensor = hourly.sensor
                    and own.measured_ms >= hourly.hour_ms
                    and own.measured_ms < hourly.hour_ms + {HOUR_MS}"""


@migrations(name="0009_clean")
def _clean(db: Database) -> None:
    """Correct readings in views only; the raw readings stay as they are.

    The index on flags begins with their end, so that a new reading needs to skip none of them.
    """
    run(
        db,
        f"""
        drop index flags_sensor;
        create index flags_sensor on flags (sensor, to_ms, from_ms);
        create index incidents_node on incidents (node, from_ms);

        create view readings_clean as
        select
            readings.sensor, readings.measured_ms,
            {_CALIBRATED} as value,
            readings.measured_at
        from readings
        where not exists (
            select 1 from flags
            where flags.sensor = readings.sensor
                and flags.to_ms > readings.measured_ms and flags.from_ms <= readings.measured_ms
        );

        -- An hour is whole when no flag touches it and no calibration begins within it:
        -- then what hourly knows of it is enough. The others are computed from raw.
        create view hourly_clean as
        select
            hourly.sensor, hourly.hour_ms,
            coalesce(whole.n, (select count(*) {_OF_HOUR})) as n,
            coalesce(
                whole.sum * scale + whole.n * offset, whole.sum, (select sum(value) {_OF_HOUR})
            ) as sum,
            coalesce(
                iif(scale > 0, whole.min, whole.max) * scale + offset, whole.min,
                (select min(value) {_OF_HOUR})
            ) as min,
            coalesce(
                iif(scale > 0, whole.max, whole.min) * scale + offset, whole.max,
                (select max(value) {_OF_HOUR})
            ) as max
        from hourly
        left join hourly as whole
            on whole.sensor = hourly.sensor and whole.hour_ms = hourly.hour_ms
            and not exists (
                select 1 from flags
                where flags.sensor = hourly.sensor
                    and to_ms > hourly.hour_ms and from_ms < hourly.hour_ms + {HOUR_MS}
            )
            and not exists (
                select 1 from calibrations as next
                where next.sensor = hourly.sensor
                    and from_ms > hourly.hour_ms and from_ms < hourly.hour_ms + {HOUR_MS}
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
                where flags.sensor = hourly.sensor
                    and to_ms >= hourly.hour_ms + {HOUR_MS} and from_ms <= hourly.hour_ms
            )
            and exists (select 1 {_OF_HOUR})
        );

        create view daily_clean as
        select
            sensor,
            {floor("hour_ms", DAY_MS)} as day_ms,
            date(hour_ms / 1000, 'unixepoch') as day,
            sum(n) as n, sum(sum) / sum(n) as mean, min(min) as min, max(max) as max,
            sum(sum) as sum
        from hourly_clean
        group by sensor, day_ms;

        -- The newest that no flag covers is the newest of all, or the last before some flag.
        create view latest_clean as
        select
            latest.sensor, latest.node, latest.name, latest.quantity, latest.unit,
            readings_clean.measured_ms, readings_clean.measured_at, readings_clean.value,
            max(0, unixepoch() - readings_clean.measured_ms / 1000) as age_s,
            latest.silent
        from latest
        cross join readings_clean on readings_clean.sensor = latest.sensor
            and readings_clean.measured_ms = (
                select max(at.measured_ms) from readings_clean as at
                where at.sensor = latest.sensor and at.measured_ms in (
                    select latest.measured_ms
                    union all
                    select (
                        select readings.measured_ms from readings
                        where readings.sensor = latest.sensor
                            and readings.measured_ms < flags.from_ms
                        order by readings.measured_ms desc limit 1
                    )
                    from flags where flags.sensor = latest.sensor
                )
            );
    """,
    )
