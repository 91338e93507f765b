"""What home shows: titles of sensors, areas of nodes, and which sensors are history."""

from sqlite_utils import Database

from tmon.db.migrations.registry import migrations, run


@migrations(name="0020_home")
def _home(db: Database) -> None:
    """``latest`` tells history, of which no more is expected, from sensors that are silent.

    That is what was only ever imported, and the sensors of revoked nodes. ``imported`` ends with
    the first reading that the node sends. Whoever sets ``silent_after_s`` expects readings also
    of imports. Migrations 0003 and 0011 explain the rest.
    """
    run(
        db,
        """
        alter table nodes add column area text;
        alter table sensors add column title text;
        alter table sensors add column imported integer not null default 0
            check (imported in (0, 1));
        update sensors set imported = 1
        where exists (select 1 from import_runs where import_runs.sensor = sensors.id)
            and node in (select name from nodes where last_received_ms is null);

        drop view latest_clean;
        drop view latest;

        create view latest as
        select
            sensors.id as sensor, sensors.node, sensors.name, sensors.quantity, sensors.unit,
            newest.measured_ms, newest.measured_at, newest.value,
            max(0, unixepoch() - newest.measured_ms / 1000) as age_s,
            case
                when nodes.revoked_ms is not null then 0
                when nodes.silent_after_s is not null
                then unixepoch() - newest.measured_ms / 1000 > nodes.silent_after_s
                when sensors.imported then 0
                when unixepoch() - newest.measured_ms / 1000 <= 900 then 0
                when 25000 * (unixepoch() - newest.measured_ms / 1000) > 3 * (
                    newest.measured_ms - (
                        select measured_ms from readings
                        where sensor = sensors.id and measured_ms <= newest.measured_ms
                        order by measured_ms desc limit 1 offset 49
                    )
                ) then 1
                else coalesce((
                    -- whether three times the median gap between the newest 50 readings is less
                    select 2 * sum(
                        3 * (gap_ms / 1000) < unixepoch() - newest.measured_ms / 1000
                    ) >= count(*)
                    from (
                        select measured_ms - lead(measured_ms) over (order by measured_ms desc)
                            as gap_ms
                        from (
                            select measured_ms from readings
                            where sensor = sensors.id and measured_ms <= newest.measured_ms
                            order by measured_ms desc limit 50
                        )
                    )
                    where gap_ms is not null
                ), 1)
            end as silent,
            nodes.revoked_ms is not null or (sensors.imported and nodes.silent_after_s is null)
                as history
        from sensors
        cross join nodes on nodes.name = sensors.node  -- cross: sensors come first, always
        cross join readings as newest
            on newest.sensor = sensors.id and newest.measured_ms = (
                select measured_ms from readings
                where sensor = sensors.id and measured_ms <= (unixepoch() + 600) * 1000
                order by measured_ms desc limit 1
            );

        -- The newest that no flag covers is the newest of all, or the last before some flag.
        create view latest_clean as
        select
            latest.sensor, latest.node, latest.name, latest.quantity, latest.unit,
            readings_clean.measured_ms, readings_clean.measured_at, readings_clean.value,
            max(0, unixepoch() - readings_clean.measured_ms / 1000) as age_s,
            latest.silent, latest.history
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
                            and readings.measured_ms < min(flags.from_ms, latest.measured_ms)
                        order by readings.measured_ms desc limit 1
                    )
                    from flags where flags.sensor = latest.sensor
                )
            );
    """,
    )
