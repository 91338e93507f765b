"""What one statement may cost, whatever it is: within one row, one call and one preparation."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from datasette.utils import sqlite_timelimit
from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]  # or pysqlite3

from tests.publish.published import fill
from tmon.db.connect import open_database
from tmon.pages import limited_connection as limits
from tmon.pages.limited_connection import LimitedConnection

NOT_ALLOWED = "^not authorized|prohibited|may not be modified|no such table"
LIMIT_MS = 200
ENDS_S = 1.5  # of the processor, as other tests may run beside this one

DOUBLED = "with recursive t (x, n) as (select 'a', 0 union all select x || x, n + 1 from t)"
WIDE = f"{DOUBLED}, w as (select x from t where n = 14 limit 1)"
COUNTED = "(with recursive c (i) as (select 1 union all select i + 1 from c) select i from c)"


def each(template: str, times: int, between: str = ", ") -> str:
    return between.join(template.format(n) for n in range(times))


def of_wide(columns: str, *others: str) -> str:
    """A question about one text of 16 KiB."""
    return f"{WIDE} select {columns} from {', '.join(('w', *others))}"


def bomb(first: str, following: str, depth: int) -> str:
    """A WITH whose parts each take in the one before more than once."""
    parts = ", ".join(f"a{n} as ({following.format(f'a{n - 1}')})" for n in range(1, depth + 1))
    return f"with a0 as ({first}), {parts} select count(*) from a{depth}"


BOMBS = {
    "views": bomb("select * from latest_clean", "select x.sensor from {0} x, {0} y", 12),
    "constants": bomb("select 1 as sensor", "select x.sensor from {0} x, {0} y", 16),
    "more constants": bomb("select 1 as sensor", "select x.sensor from {0} x, {0} y", 20),
    "left joins": bomb("select 1 as sensor", "select x.sensor from {0} x left join {0} y on 1", 17),
    "unions": bomb("select 1 as c", "select c from {0} union all select c from {0}", 16),
    "aggregates": bomb("select 1 as c", "select max(x.c) as c from {0} x, {0} y", 15),
    "windows": bomb("select 1 as c", "select sum(x.c) over () as c from {0} x, {0} y", 14),
    "in": bomb("select 1 as c", "select c from {0} where c in (select c from {0})", 16),
    "exists": bomb("select 1 as c", "select c from {0} where exists (select 1 from {0})", 16),
    "scalars": bomb("select 1 as c", "select (select c from {0}) + (select c from {0}) as c", 16),
    "expressions": bomb("select sensor as c from readings", "select c + c as c from {0}", 24),
    "cases": bomb(
        "select sensor as c from readings", "select case when c then c else c end as c from {0}", 16
    ),
    "many at once": bomb("select 1 as c", f"select x0.c from {each('{{0}} x{}', 60)}", 3),
}
ARRAY = "'[' || replace(substr(x, 3), 'a', '1,') || '1]'"
LONG_CALLS = {
    "instr": of_wide(each("instr(x, substr(x, {} + 1, 8000) || 1)", 60)),
    "most instr": of_wide(each("instr(x, substr(x, {} + 1, 8000) || 1)", 32)),
    "instr in rows": of_wide("sum(instr(x, substr(x, i % 9, 8000) || 1))", COUNTED),
    "replace": of_wide(each("replace(x, substr(x, {} + 1, 8000) || 1, 2)", 32)),
    "glob": of_wide(each("glob('*[' || substr(x, {} + 2, 190) || ']b', x)", 32)),
    "like": of_wide(each("x like '" + "%a" * 90 + "b{}'", 190)),
    "trim": of_wide(each("rtrim(x, {} || replace(substr(x, 2), 1, 2))", 16)),
    "json_set": of_wide(each(f"json_set({ARRAY}, '$[#]', {{}}, '$[#]', 1)", 30)),
    "json_each": of_wide("count(*)", *(f"json_each({ARRAY}) {name}" for name in "abc")),
    "json_group_array": of_wide("json_group_array(x)", COUNTED),
    "group_concat": of_wide("length(group_concat(x))", COUNTED),
    "wide rows": of_wide("x || i as y", COUNTED) + " order by y desc",
    "window frames": "select sum(g) from (select max(i) over"
    " (order by i rows between 100000 preceding and 100000 following) as g"
    f" from {COUNTED} limit 1000000)",
    "sorting": f"select i from {COUNTED} order by -i",
    "recursion": f"{WIDE}, r (y, m) as (select x, 0 from w union select x || m, m + 1 from r, w)"
    " select count(*) from r",
    "cross joins": f"select count(*) from {each('readings r{}', 60)}",
    "joins": f"select count(*) from {each('hourly_clean h{}', 12)}",
    "correlated": "select count(*) from readings a where (select count(*) from readings b where"
    " b.value > a.value and (select count(*) from readings c where c.value > b.value) > 1) > 1",
    "values": f"with v as (values {each('({})', 7000)}) select count(*) from v a, v b, v c",
    "long in": f"select count(*) from readings where sensor in ({each('{}', 9000)})",
    "or": f"select count(*) from readings where {each('sensor = {0} and value = {0}', 90, ' or ')}",
    "many views": f"select {each('(select max(value) from latest_clean where sensor = {})', 100)}",
    "compounds": each("select sensor from latest_clean where sensor = {}", 50, " union "),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("limited") / "tmon.db"
    with open_database(path, create=True) as db:
        fill(db)
    return path


@contextmanager
def opened(path: Path) -> Iterator[LimitedConnection]:
    """A connection as Datasette has it, with the thread that looks after its time limit."""
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=ro",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        factory=LimitedConnection,
    )
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            connection.interrupt_if_time_is_up()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield connection
    finally:
        ended.set()
        thread.join()
        connection.close()


def ask(path: Path, sql: str) -> str:
    """The error, or nothing."""
    with opened(path) as connection, sqlite_timelimit(connection, LIMIT_MS):
        try:
            connection.execute(sql).fetchmany(10_000)
        except MemoryError:
            return "memory"
        except sqlite3.DatabaseError as error:
            return str(error)
    return ""


@pytest.mark.parametrize("sql", [*BOMBS.values(), *LONG_CALLS.values()], ids=[*BOMBS, *LONG_CALLS])
def test_nothing_takes_much_longer_than_its_time_limit(path: Path, sql: str) -> None:
    began = time.thread_time()
    error = ask(path, sql)
    assert time.thread_time() - began < ENDS_S
    known = ("", "memory", "interrupted", limits.TOO_COMPLEX, "string or blob too big")
    assert error in known


def test_a_bomb_ends_by_what_it_takes_in_or_by_its_memory(path: Path) -> None:
    assert ask(path, BOMBS["aggregates"]) in {limits.TOO_COMPLEX, "interrupted"}
    assert ask(path, LONG_CALLS["many views"]) == limits.TOO_COMPLEX
    assert ask(path, BOMBS["more constants"]) == "memory"


def test_statements_begin_anew(path: Path) -> None:
    """What one was refused for, or took, doesn't count for the next."""
    with opened(path) as connection:
        for _ in range(3):
            with pytest.raises(sqlite3.OperationalError, match="too complex"):
                connection.execute(LONG_CALLS["instr"])
            connection.execute("explain select instr('a', 'b')").fetchall()
            calls = each("instr('a', '{}')", limits.MAX_QUADRATIC_CALLS)
            assert connection.execute(f"select {calls}").fetchall()
        with sqlite_timelimit(connection, 0), pytest.raises(sqlite3.OperationalError):
            connection.execute("select 2").fetchall()
        assert connection.execute("select 3").fetchall() == [(3,)]


def test_eight_bombs_at_once_stay_within_memory(path: Path) -> None:
    program = (
        "import resource, sys\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from pathlib import Path\n"
        "from tests.publish.test_limited_connection import BOMBS, ask\n"
        "mb = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "path, before = Path(sys.argv[1]), mb()\n"
        "asked = [BOMBS['views'], BOMBS['constants']] * 4\n"
        "with ThreadPoolExecutor(8) as asking:\n"
        "    answers = list(asking.map(lambda sql: ask(path, sql), asked))\n"
        "print(mb() - before, all(answers))\n"
    )
    command = [sys.executable, "-c", program, str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    grown_mb, all_refused = ended.stdout.split()
    assert all_refused == "True"
    assert int(grown_mb) < 3 * limits.HEAP_LIMIT_BYTES // 2**20  # the allocator keeps more


def test_pragmas_can_be_read_by_name_only(path: Path) -> None:
    """As functions too, which `_where` may contain."""
    with opened(path) as connection:
        free = sqlite3.connect(":memory:")
        pragmas = {name for (name,) in free.execute("pragma pragma_list")}
        assert {"wal_checkpoint", "journal_mode", "optimize", "hard_heap_limit"} <= pragmas
        readable = set()
        for pragma in pragmas:
            for argument in ("", "('readings')", "(1)"):
                try:
                    connection.execute(f"select * from pragma_{pragma}{argument}").fetchall()
                except sqlite3.DatabaseError:
                    continue
                readable.add(pragma)
        assert readable == (limits.PRAGMAS | limits.PRAGMAS_WITHOUT_VALUE) - {"database_list"}


@pytest.mark.parametrize(
    "sql",
    [
        "begin",
        "begin immediate",
        "savepoint s",
        "commit",
        "create temp table x (y)",
        "create temp view x as select 1",
        "create virtual table temp.x using fts5(y)",
        "insert into sqlite_master values (1, 2, 3, 4, 5)",
        "delete from sqlite_master",
        "with x as (select 1) update sqlite_master set sql = 'x' where name = 'latest'",
        "update sqlite_master set sql = 'x'",
        "pragma writable_schema = on",
        "pragma wal_checkpoint(truncate)",
        "pragma schema_version = 1",
        "pragma query_only = off",
        "vacuum",
        "vacuum into 'copy.db'",
        "attach ':memory:' as other",
        "analyze",
        "reindex",
        "drop view latest",
        "alter table nodes rename to others",
        "explain delete from readings",
        "select * from pragma_database_list",
        "select 1 from PRAGMA_Database_List()",
        'select count(*) from temp."Pragma_database_list" as x',
        "with x as (select * from main.pragma_DATABASE_list) select x.* from x",
        "select (select file from [pragma_Database_list])",
        "select PRINTF('%d', 1)",
        """select "JSON_Patch"('{}', '{}')""",
        "select * from dbstat",
        "select * from sqlite_dbpage",
        "select sqlite_log(1, 'x')",
        "select rtreecheck('readings')",
    ],
)
def test_nothing_but_reading_is_allowed(path: Path, sql: str) -> None:
    with opened(path) as connection:
        with pytest.raises(sqlite3.DatabaseError, match=NOT_ALLOWED):
            connection.execute(sql).fetchall()
        assert not connection.in_transaction


def test_rollback_is_all_that_may_be_said_of_transactions(path: Path) -> None:
    with opened(path) as connection:
        connection.set_authorizer(None)
        connection.execute("begin")
        assert not connection.in_transaction


@pytest.mark.parametrize(
    ("trimmed", "result"),
    [
        ("trim('  a ')", "a"),
        ("trim('xxaxx', 'x')", "a"),
        ("ltrim('yxaxy', 'xy')", "axy"),
        ("rtrim('2026-01-01Z', 'Z')", "2026-01-01"),
        ("rtrim(21.50, '0')", "21.5"),
        ("trim('a', '')", "a"),
        ("trim(null, 'a')", None),
        ("trim('a', null)", None),
    ],
)
def test_trim_is_as_sqlite_has_it(path: Path, trimmed: str, result: str | None) -> None:
    with opened(path) as connection:
        for one in (connection, sqlite3.connect(":memory:")):
            assert one.execute(f"select {trimmed}").fetchall() == [(result,)]
