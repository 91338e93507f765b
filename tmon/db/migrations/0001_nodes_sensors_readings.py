from sqlite_utils import Database

from tmon.db.migrations.registry import DAY_MS, HOUR_MS, floor, migrations, run

# An instant's readable twin.
_MEASURED_AT = "strftime('%Y-%m-%dT%H:%M:%fZ', measured_ms / 1000.0, 'unixepoch')"


@migrations(name="0001_nodes_sensors_readings")
def _tables(db: Database) -> None:
    run(
        db,
        f"""
        create table nodes (
            name text primary key not null,
            uid text unique not null,
            description text,
            latitude real check (latitude between -90 and 90),
            longitude real check (longitude between -180 and 180),
            created_ms integer not null,
            token_generation integer not null default 1,
            revoked_ms integer,
            silent_after_s integer check (silent_after_s > 0),
            last_received_ms integer,
            clock_skew_s real
        ) strict;

        create table sensors (
            id integer primary key,
            node text not null references nodes (name) on update cascade,
            name text not null,
            quantity text,
            unit text,
            label text generated always as (node || ' ' || name) virtual,
            unique (node, name)
        ) strict;

        create table sensor_names (
            node_uid text not null references nodes (uid),
            wire_name text not null,
            sensor integer not null references sensors (id),
            primary key (node_uid, wire_name)
        ) without rowid, strict;

        create table readings (
            sensor integer not null references sensors (id),
            measured_ms integer not null,
            value real not null,
            measured_at text generated always as ({_MEASURED_AT}) virtual,
            primary key (sensor, measured_ms)
        ) without rowid, strict;

        -- Both columns, so that pages of the newest neither skip nor repeat a tie (see 0004).
        create index readings_measured_ms on readings (measured_ms desc, sensor);

        create table hourly (
            sensor integer not null references sensors (id),
            hour_ms integer not null,
            n integer not null,
            sum real not null,
            min real not null,
            max real not null,
            primary key (sensor, hour_ms)
        ) without rowid, strict;

        create index hourly_day on hourly (sensor, {floor("hour_ms", DAY_MS)});

        create trigger readings_into_hourly after insert on readings begin
            insert into hourly (sensor, hour_ms, n, sum, min, max)
            values (new.sensor, {floor("new.measured_ms", HOUR_MS)},
                    1, new.value, new.value, new.value)
            on conflict (sensor, hour_ms) do update set
                n = n + 1,
                sum = sum + excluded.sum,
                min = min(min, excluded.min),
                max = max(max, excluded.max);
        end;

        create table rejected (
            id integer primary key,
            received_ms integer not null,
            node text not null,
            sensor text,
            measured text,
            value text,
            code text not null,
            reason text not null
        ) strict;
    """,
    )
