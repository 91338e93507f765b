"""The tables, triggers and views, as numbered migrations.

They are the contract between tmon's processes, and the API for whoever
writes SQL: what a name means here, it means on every page.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent

from sqlite_utils import Database, Migrations
from sqlite_utils.utils import sqlite3 as sqlite3  # type: ignore[attr-defined]  # or pysqlite3

APPLICATION_ID = 0x746D6F6E  # "tmon" in ASCII, in the header of each of our files
BUSY_TIMEOUT_S = 2.0  # longer than any transaction of ours (tmon import: 50 ms)
CACHED_STATEMENTS = 512  # the bulk inserts differ in length (see store.py)

migrations = Migrations("tmon")


class RefusedDatabase(Exception):
    """The file can't be used as a tmon database; the message says why and what to do."""


def open_database(path: Path, *, create: bool = False) -> Database:
    """Open ``path`` for reading and writing, brought up to the present schema.

    Args:
        path: the database file.
        create: make the file when there is none.

    Raises:
        RefusedDatabase: no such file, no tmon database, or one from a newer tmon.

    """
    if not create and not path.exists():
        raise RefusedDatabase(f"{path}: no such database; `tmon serve` makes one, or set TMON_DB")
    try:
        db = Database(_connect(path), execute_plugins=False)
        _prepare(db, path)
    except sqlite3.DatabaseError as error:
        raise RefusedDatabase(f"{path}: {error}") from error
    return db


def open_for_reading(path: Path) -> Database:
    """Open ``path`` read-only, as Datasette does; it must exist and be migrated."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S
    )
    return Database(connection, execute_plugins=False)


@contextmanager
def transaction(db: Database) -> Iterator[None]:
    """One transaction that holds the write lock from its first statement on."""
    db.execute("begin immediate")
    try:
        yield
        db.execute("commit")
    finally:
        db.rollback()


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        str(path),
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,  # made in one thread, used in one other
        cached_statements=CACHED_STATEMENTS,
    )


def _prepare(db: Database, path: Path) -> None:
    if _is_empty(db):
        # Neither can be changed once there are tables.
        db.execute("pragma auto_vacuum = incremental")
        db.execute("pragma journal_mode = wal")
    elif _pragma(db, "application_id") != APPLICATION_ID:
        raise RefusedDatabase(f"{path}: not a tmon database; set TMON_DB to another file")
    for setting in ("journal_mode = wal", "synchronous = full", "foreign_keys = on"):
        db.execute(f"pragma {setting}")
    _migrate(db, path)


def _is_empty(db: Database) -> bool:
    return not db.execute("select count(*) from sqlite_master").fetchone()[0]


def _pragma(db: Database, name: str) -> int:
    return int(db.execute(f"pragma {name}").fetchone()[0])


def _migrate(db: Database, path: Path) -> None:
    known = {migration.name for migration in migrations.pending(Database(memory=True))}
    if known == {migration.name for migration in migrations.applied(db)}:
        return
    with transaction(db):
        newer = {migration.name for migration in migrations.applied(db)} - known
        if newer:
            raise RefusedDatabase(
                f"{path}: made by a newer tmon (migration {min(newer)}); upgrade this one"
            )
        db.execute(f"pragma application_id = {APPLICATION_ID}")
        migrations.apply(db)


# What an instant's readable twin, and the hour it lies in, are in SQL.
# Remainders are made positive first, so that times before 1970 round down too.
_MEASURED_AT = "strftime('%Y-%m-%dT%H:%M:%fZ', measured_ms / 1000.0, 'unixepoch')"
_HOUR_MS = 3_600_000
_DAY_MS = 86_400_000


def _floor(column: str, step_ms: int) -> str:
    return f"({column} - (({column} % {step_ms}) + {step_ms}) % {step_ms})"


def _run(db: Database, sql: str) -> None:
    """Run statements; SQLite keeps their text, and Datasette shows it to people."""
    db.executescript(dedent(sql))


@migrations(name="0001_nodes_sensors_readings")
def _tables(db: Database) -> None:
    _run(
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

        create index hourly_day on hourly (sensor, {_floor("hour_ms", _DAY_MS)});

        create trigger readings_into_hourly after insert on readings begin
            insert into hourly (sensor, hour_ms, n, sum, min, max)
            values (new.sensor, {_floor("new.measured_ms", _HOUR_MS)},
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


@migrations(name="0002_latest_daily")  # its `latest` is the next one's now
def _daily(db: Database) -> None:
    _run(
        db,
        f"""
        create view daily as
        select
            sensor,
            {_floor("hour_ms", _DAY_MS)} as day_ms,
            date(hour_ms / 1000, 'unixepoch') as day,
            sum(n) as n, sum(sum) / sum(n) as mean, min(min) as min, max(max) as max,
            sum(sum) as sum
        from hourly
        group by sensor, day_ms;
    """,
    )


@migrations(name="0003_latest_sooner")
def _latest(db: Database) -> None:
    """``latest`` in half the time it took where sensors are slow or silent.

    Of 49 gaps, 25 are at least as long as the median, so it is at most their sum / 25:
    where the age is beyond three times that, the median need not be looked for.
    """
    _run(
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


@migrations(name="0004_index_upwards")
def _index(db: Database) -> None:
    """The same pages of the newest from an index that grows at its end, where pages get full."""
    _run(
        db,
        """
        drop index readings_measured_ms;
        create index readings_measured_ms on readings (measured_ms, sensor desc);
    """,
    )
