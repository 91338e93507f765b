"""Limits, incidents and alert channels; corrections; the last runs of maintenance jobs."""

from sqlite_utils import Database

from tmon.db.migrations.registry import migrations, run


@migrations(name="0005_watch_and_care")
def _watch_and_care(db: Database) -> None:
    run(
        db,
        """
        alter table sensors add column description text;

        -- Raw readings before it are gone, their hours are not: late ones are refused.
        alter table sensors add column pruned_before_ms integer;

        create table limits (
            sensor integer primary key not null references sensors (id),
            below real,
            above real,
            for_s integer not null default 0 check (for_s >= 0),
            hysteresis real not null default 0 check (hysteresis >= 0),
            created_ms integer not null,
            check (below is not null or above is not null),
            check (below is null or above is null or below + hysteresis < above - hysteresis)
        ) strict;

        create table incidents (
            id integer primary key,
            finding text not null,
            severity text not null check (severity in ('warning', 'critical')),
            node text references nodes (name) on update cascade,
            sensor integer references sensors (id),
            subject text not null default '',
            reason text not null,
            from_ms integer not null,
            to_ms integer check (to_ms >= from_ms)
        ) strict;

        create unique index incidents_open
        on incidents (finding, coalesce(node, ''), coalesce(sensor, 0), subject)
        where to_ms is null;

        create index incidents_sensor on incidents (sensor, from_ms);

        -- What people are told of incidents, in the order in which they are told.
        create table events (
            id integer primary key,
            at_ms integer not null,
            incident integer not null references incidents (id),
            what text not null check (what in ('began', 'goes on', 'ended')),
            told text not null
        ) strict;

        create index events_incident on events (incident);

        -- Who is told: up to which event, and up to which one a message is under way.
        create table channels (
            name text primary key not null,
            told integer not null,
            telling integer
        ) strict;

        create table mutes (
            id integer primary key,
            node text references nodes (name) on update cascade,
            sensor integer references sensors (id),
            finding text,
            until_ms integer not null
        ) strict;

        -- What is done now and then: backups, checks of the whole file.
        create table chores (
            name text primary key not null,
            done_ms integer not null,
            outcome text not null
        ) strict;

        -- Each is valid until the sensor's next.
        create table calibrations (
            sensor integer not null references sensors (id),
            from_ms integer not null,
            scale real not null default 1 check (scale <> 0),
            offset real not null default 0,
            reason text,
            created_ms integer not null,
            primary key (sensor, from_ms)
        ) without rowid, strict;

        create table flags (
            id integer primary key,
            sensor integer not null references sensors (id),
            from_ms integer not null,
            to_ms integer not null check (to_ms > from_ms),
            reason text not null,
            created_ms integer not null
        ) strict;

        create index flags_sensor on flags (sensor, from_ms);

        create table changes (
            id integer primary key,
            at_ms integer not null,
            node_uid text references nodes (uid),
            sensor integer references sensors (id),
            what text not null,
            before text,
            after text
        ) strict;

        create index changes_node on changes (node_uid, what);
    """,
    )
