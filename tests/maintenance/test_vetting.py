"""A file of unknown origin is refused if it could act by itself; the owner's additions stay."""

import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from time import monotonic

import pytest
from sqlite_utils import Database

from tests.maintenance.backup_files import listed, one_line, station
from tests.station import tmon
from tmon.db.connect import APPLICATION_ID, RefusedDatabase, open_database, sqlite3
from tmon.db.migrations import migrations
from tmon.maintenance.snapshot import DamagedCopy, check_copy
from tmon.maintenance.vetting import Untrusted, vet

ORDER = [migration.name for migration in migrations.pending(Database(memory=True))]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A database with a node, a sensor and some readings, that nobody has open."""
    return station(tmp_path, readings=10)


@contextmanager
def opened(file: Path) -> Iterator[sqlite3.Connection]:
    conn = sqlite3.connect(str(file), isolation_level=None)
    yield conn
    conn.close()


def run(file: Path, sql: str) -> None:
    with opened(file) as conn:
        conn.executescript(sql)


ACTS = {
    "trigger": "create trigger t after insert on readings begin delete from nodes; end",
    "trigger before": "create trigger t before delete on rejected begin select 1; end",
    "trigger on a table of its own": """
        create table remarks (x);
        create trigger t after insert on remarks begin delete from nodes; end
    """,
    "trigger on a view": """
        create trigger t instead of insert on latest begin delete from nodes; end
    """,
    "trigger of ours, changed": """
        drop trigger readings_into_hours;
        create trigger readings_into_hours after insert on readings begin select 1; end
    """,
    "trigger of ours, gone": "drop trigger readings_into_hours",
    "table of ours with a column more": "alter table nodes add column motto text default 'x'",
    "table of ours with a column less": "alter table nodes drop column latitude",
    "table of ours, gone": "drop table channels",
    "table of ours, without what it checks": """
        create table copy as select * from mutes; drop table mutes;
        alter table copy rename to mutes
    """,
    "table of ours with a default that computes": """
        pragma writable_schema = on;
        update sqlite_master set sql = replace(
            sql, 'default 1', 'default (abs(random()))') where name = 'nodes'
    """,
    "table of ours with a check that computes": """
        pragma writable_schema = on;
        update sqlite_master set sql = replace(
            sql, 'value real not null,', 'value real not null check (length(hex(value)) > 0),')
        where name = 'readings'
    """,
    "view of ours, changed": "drop view latest; create view latest as select 1 as sensor",
    "view of ours in other letters": """
        drop view latest; create view LATEST as select * from readings
    """,
    "view of ours, gone": "drop view daily",
    "view of ours as a table": "drop view daily; create table daily (sensor, day)",
    "index of ours, gone": "drop index readings_measured_ms",
    "index of ours, changed": """
        drop index readings_measured_ms; create index readings_measured_ms on readings (value)
    """,
    "unique index on a table of ours": "create unique index one on nodes (token_generation)",
    "index that computes": "create index own on readings (abs(value) + 9223372036854775807)",
    "index on a part": "create index own on readings (value) where json_valid(value)",
    "virtual table": "create virtual table search using fts5 (x)",
    "virtual table, deleted but for its definition": """
        create virtual table search using rtree (id, a, b)
    """,
    "view that shadows a function": "create view json_each as select 1 as value",
    "table that shadows a pragma": "create table pragma_table_info (name)",
    "view of a function with side effects": "create view v as select load_extension('x')",
    "too many tables": "begin;"
    + "".join(f"create table t{n} (x);" for n in range(2_100))
    + "commit",
    "too much text": f"create table t (x check (x <> '{'x' * 1_100_000}'))",
    "view of views": "create view v0 as select * from latest_clean;"
    + "".join(f"create view v{n} as select x.* from v{n - 1} x, v{n - 1} y;" for n in range(1, 14)),
    "trigger that says it is a table": """
        pragma writable_schema = on;
        insert into sqlite_master values ('table', 'remarks', 'remarks', 0,
            'create trigger t after insert on readings begin delete from nodes; end')
    """,
    "index that says it is of another table": """
        create table remarks (x); create unique index own on nodes (revoked_ms);
        pragma writable_schema = on;
        update sqlite_master set tbl_name = 'remarks' where name = 'own'
    """,
    "name of SQLite's": """
        create table t (x); pragma writable_schema = on;
        update sqlite_master set name = 'sqlite_own', tbl_name = 'sqlite_own',
            sql = 'CREATE TABLE sqlite_own (x)' where name = 't'
    """,
    "schema that is no text": """
        create table t (x); pragma writable_schema = on;
        update sqlite_master set sql = cast(sql as blob) where name = 't'
    """,
    "no definition": """
        create table t (x); pragma writable_schema = on;
        update sqlite_master set sql = null where name = 't'
    """,
    "node's name": "insert into nodes (name, uid, created_ms) values ('a/../b', 'u', 0)",
    "node's name with markup": "update nodes set name = '<script>'",
    "node's uid": "insert into nodes (name, uid, created_ms) values ('b', 'a.b.c', 0)",
    "sensor's name": "update sensors set name = 'a//b'",
    "sensor's name that is empty": "update sensors set name = ''",
    "what a node calls a sensor": """
        insert into sensor_names select uid, 'x y' || char(10), 1 from nodes
    """,
    "a cache of its own": "pragma default_cache_size = 1000000000",
    "name that moves the cursor": """
        create trigger "a\x1b[2J\n" after insert on readings begin select 1; end
    """,
    "name with a NUL": """
        create table t (x); pragma writable_schema = on;
        update sqlite_master set name = 'a' || char(0) || 'b', tbl_name = 'a' || char(0) || 'b',
            sql = 'CREATE TABLE "a' || char(0) || 'b" (x)' where name = 't'
    """,
    "name on two lines": 'create table "a\nb" (x)',
    "definition that pages can't read": f"create table t (x check (x <> '{'x' * 32_000}'))",
    "view that pages can't read": f"create view v as select '{'x' * 32_000}'",
    "names that are long together": f"""
        create table "{"a" * 11_000}" (x); create index i on "{"a" * 11_000}" (x)
    """,
    "infinite value": "update readings set value = 9e999 where measured_ms = 60000",
    "minus infinity": "update readings set value = -9e999",
    "time at the end of numbers": """
        update readings set measured_ms = 9223372036854775807 where measured_ms = 60000
    """,
    "time before the year 1": """
        update readings set measured_ms = -62135596800001 where measured_ms = 60000
    """,
    "time after the year 9999": """
        update readings set measured_ms = 253402300800000 where measured_ms = 60000
    """,
    "infinite hour": "update hours set sum = -9e999",
    "infinite calibration": "insert into calibrations values (1, 0, 9e999, 0, null, 0)",
    "infinite limit": "insert into limits values (1, null, 9e999, 0, 0, 0)",
    "description that pages can't read": "update nodes set description = hex(zeroblob(16000))",
    "infinite clock": "update nodes set clock_skew_s = 9e999",
    "node heard after the year 9999": "update nodes set last_received_ms = 9223372036854775807",
    "horizon that no calendar has": """
        update sensors set pruned_before_ms = -9223372036854775808
    """,
    "application id": "pragma application_id = 7",
    "migrations in no table": "drop table _sqlite_migrations",
    "migrations by a view": """
        alter table _sqlite_migrations rename to m;
        create view _sqlite_migrations as select * from m
    """,
}


@pytest.mark.parametrize("what", ACTS)
def test_what_could_act_by_itself_is_refused(file: Path, what: str) -> None:
    run(file, ACTS[what])
    content = file.read_bytes()
    began_s = monotonic()
    with pytest.raises((Untrusted, sqlite3.DatabaseError)) as refused:
        vet(file)
    assert "\n" not in str(refused.value)
    assert "\x1b" not in str(refused.value)
    assert monotonic() - began_s < 10
    assert file.read_bytes() == content
    assert listed(file.parent) == ["tmon.db", "tmon.db.secret"]


OWN = """
    create table remarks (id integer primary key autoincrement, node text references nodes (name),
        text text check (length(text) < 1000), words integer as (length(text)) stored);
    insert into remarks (node, text) values ('basement', 'by the boiler');
    create unique index remarks_text on remarks (text) where text <> '';
    create index readings_value on readings (value);
    create view warm as select * from latest where value > 20;
    create view broken as select * from a_table_that_is_gone;
    create table "a ]""b;" (x, "y z");
    analyze;
"""


def test_what_the_owner_added_is_kept_and_listed(file: Path) -> None:
    run(file, OWN)
    assert vet(file) == [
        *("index readings_value", "index remarks_text", 'table a ]"b;', "table remarks"),
        *("view broken", "view warm"),
    ]


def test_times_and_values_that_an_import_stores_are_taken(file: Path) -> None:
    run(
        file,
        """
        insert into readings values (1, -62135596800000, 1e30), (1, 253402300799999, -1e30);
        insert into calibrations values (1, -62135596800000, 1e12, -1e12, null, 0);
        create table remarks (x real, at_ms integer);
        insert into remarks values (9e999, 9223372036854775807);
        """,
    )
    assert vet(file) == ["table remarks"]


def test_a_refusal_counts_the_rows(file: Path) -> None:
    run(file, "update readings set value = 9e999 where measured_ms < 180000")
    with pytest.raises(Untrusted, match=r"^3 rows of its table readings: an infinite value"):
        vet(file)


def test_a_database_that_cant_be_copied_is_told_in_one_line(tmp_path: Path, file: Path) -> None:
    run(file, ACTS["name with a NUL"])
    ran = tmon(tmp_path, "backup", "kept")
    assert ran.returncode == 1
    assert "can't be copied" in one_line(ran.stderr)


@pytest.mark.parametrize("number", range(1, len(ORDER) + 1))
def test_backups_of_earlier_versions_are_taken(tmp_path: Path, number: int) -> None:
    """Each is what the first so many migrations make, with an addition of its owner's."""
    file = tmp_path / "old.db"
    with Database(str(file)) as db:
        migrations.apply(db, stop_before=ORDER[number : number + 1])
        db.execute(f"pragma application_id = {APPLICATION_ID}")
        db.execute("create table remarks (x)")
    assert vet(file) == ["table remarks"]
    open_database(file).close()
    assert vet(file) == ["table remarks"]


@pytest.mark.parametrize("seed", range(2))
def test_whatever_bytes_are_changed_it_is_a_refusal_or_well(tmp_path: Path, seed: int) -> None:
    whole = station(tmp_path / "made", readings=10)
    changed_at_random(tmp_path, whole.read_bytes(), seed, times=100)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_whatever_bytes_are_changed_many_times(tmp_path: Path) -> None:
    whole = station(tmp_path / "made", readings=10)
    changed_at_random(tmp_path, whole.read_bytes(), seed=3, times=5_000)


def changed_at_random(tmp_path: Path, content: bytes, seed: int, times: int) -> None:
    """Vet and check a file of which some bytes were changed, in the schema above all."""
    random, file = Random(seed), tmp_path / "changed.db"
    page_bytes = 4096
    for _ in range(times):
        changed = bytearray(content)
        for _ in range(random.randint(1, 8)):
            size = page_bytes if random.random() < 0.3 else len(changed)
            changed[random.randrange(size)] = random.randrange(256)
        file.write_bytes(changed)
        try:
            vet(file)
            check_copy(file, None, lambda _: None)
        except (Untrusted, DamagedCopy, RefusedDatabase, sqlite3.DatabaseError):
            pass  # anything else would be a traceback


def test_another_encoding_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "utf16.db"
    with Database(str(file)) as db:
        db.execute("pragma encoding = 'UTF-16'")
        migrations.apply(db)
        db.execute(f"pragma application_id = {APPLICATION_ID}")
    with pytest.raises(Untrusted, match="UTF-8"):
        vet(file)


def test_restore_says_in_one_line_what_it_refuses(tmp_path: Path, file: Path) -> None:
    run(file, ACTS["trigger"])
    new = tmp_path / "new"
    new.mkdir()
    ran = tmon(new, "restore", str(file))
    assert ran.returncode == 1
    assert one_line(ran.stderr) == (
        f"Error: {file}: it has a trigger that is not tmon's, t; nothing was restored"
    )
    assert listed(new) == []


def test_restore_keeps_what_the_owner_added_and_says_so(tmp_path: Path, file: Path) -> None:
    run(file, OWN)
    made = tmon(tmp_path, "backup", "kept")
    assert (made.returncode, made.stderr) == (0, "")
    new = tmp_path / "new"
    new.mkdir()
    ran = tmon(new, "restore", str(tmp_path / made.stdout.strip()))
    assert ran.returncode == 0
    assert "not tmon's own, and kept: index readings_value, index remarks_text, table" in ran.stderr
    with opened(new / "tmon.db") as conn:
        assert conn.execute("select text, words from remarks").fetchall() == [("by the boiler", 13)]


@pytest.mark.parametrize(
    "computed",
    [
        "x as (hex(zeroblob(800000000))) stored",
        "x check (length(hex(zeroblob(y + 800000000))) > 0)",
        "x as (hex(zeroblob(800000000)))",
    ],
)
def test_a_file_that_computes_without_bounds_gets_no_memory(
    tmp_path: Path, file: Path, computed: str
) -> None:
    run(file, f"create table big (y, {computed.replace('800000000', '1')})")
    run(file, "insert into big (y) values (1); create index own on big (x)")
    run(
        file,
        "pragma writable_schema = on;"
        f" update sqlite_master set sql = 'CREATE TABLE big (y, {computed})' where name = 'big'",
    )
    new = tmp_path / "new"
    new.mkdir()
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    ran = tmon(new, "restore", str(file))
    assert "Traceback" not in ran.stderr
    most = max(before, 450_000)  # kB; SQLite alone would take 1.6 GB
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss <= most


@pytest.mark.soak
@pytest.mark.timeout(200)
def test_a_file_that_computes_without_end_is_given_up(tmp_path: Path, file: Path) -> None:
    """It is not over within the minute that a small file has: nothing can end a single call."""
    slow = "instr(hex(zeroblob(y * 40000000)), hex(zeroblob(y * 20000000)) || 'x')"
    run(file, f"create table big (y, x as ({slow})); insert into big (y) values (0)")
    run(file, "create index own on big (x); update big set y = 0")
    run(file, "pragma writable_schema = on; update sqlite_master set sql = replace(sql, 'y *', '')")
    new = tmp_path / "new"
    new.mkdir()
    ran = subprocess.run(
        [sys.executable, "-m", "tmon", "restore", str(file)],
        cwd=new, capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    assert "was not over after 6" in one_line(ran.stderr)
    assert listed(new) == []


@pytest.mark.parametrize("suffix", ["-wal", "-journal"])
def test_a_log_beside_the_file_says_that_it_is_not_whole(
    tmp_path: Path, file: Path, suffix: str
) -> None:
    file.with_name(f"tmon.db{suffix}").write_bytes(b"x")
    new = tmp_path / "new"
    new.mkdir()
    assert "is not whole" in one_line(tmon(new, "restore", str(file)).stderr)


def test_backup_says_what_restore_will_refuse(tmp_path: Path, file: Path) -> None:
    run(file, ACTS["trigger on a table of its own"])
    made = tmon(tmp_path, "backup", "kept")
    assert made.returncode == 0
    assert "has a trigger that is not tmon's, t" in made.stderr
    assert (
        subprocess.run(["test", "-s", tmp_path / made.stdout.strip()], check=False).returncode == 0
    )
