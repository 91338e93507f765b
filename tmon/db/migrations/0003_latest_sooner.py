from sqlite_utils import Database

from tmon.db.migrations.registry import migrations, run


@migrations(name="0003_latest_sooner")
def _latest(db: Database) -> None:
    """Make ``latest`` take half as long where sensors are slow or silent.

    Of 49 gaps, 25 are at least as long as the median, so the median is at most their sum / 25:
    where the age is more than three times that, it isn't computed.
    """
    run(
        db,
        """
        drop view if exists latest;
        create view latest as
        select
            sensors.id as sensor, sensors.node, sensors.name, sensors.quantity, sensors.unit,
            readings.measured_ms, readings.measured_at, readings.value,
            max(0, unixepoch() - readings.measured_ms / 1000) as age_s,
            case
                when nodes.silent_after_s is not null
                then unixepoch() - readings.measured_ms / 1000 > nodes.silent_after_s
                when unixepoch() - readings.measured_ms / 1000 <= 900 then 0
                when 25000 * (unixepoch() - readings.measured_ms / 1000) > 3 * (
                    readings.measured_ms - (
                        select measured_ms from readings where sensor = sensors.id
                        order by measured_ms desc limit 1 offset 49
                    )
                ) then 1
                else coalesce((
                    -- whether three times the median gap between the newest 50 readings is less
                    select 2 * sum(
                        3 * (gap_ms / 1000) < unixepoch() - readings.measured_ms / 1000
                    ) >= count(*)
                    from (
                        select measured_ms - lead(measured_ms) over (order by measured_ms desc)
                            as gap_ms
                        from (
                            select measured_ms from readings where sensor = sensors.id
                            order by measured_ms desc limit 50
                        )
                    )
                    where gap_ms is not null
                ), 1)
            end as silent
        from sensors
        cross join nodes on nodes.name = sensors.node  -- cross: sensors come first, always
        cross join readings on readings.sensor = sensors.id and readings.measured_ms = (
            select measured_ms from readings
            where sensor = sensors.id order by measured_ms desc limit 1
        );
    """,
    )
