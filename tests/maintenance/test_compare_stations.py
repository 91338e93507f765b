"""`tmon compare`: two stations have the same data, or it says where they differ."""

import json
import shutil
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest
from datasette import hookimpl
from datasette.plugins import pm

from tests.publish.published import HOUR_MS, MARCH_MS, Site, fill, served
from tests.station import Station, tmon
from tmon.core.checksum import SQL_NAME, Checksum
from tmon.core.time import now_ms
from tmon.db.connect import open_database, transaction
from tmon.maintenance.compare import compare
from tmon.maintenance.compare_pair import Pair
from tmon.maintenance.compare_published import DatasetteStation
from tmon.maintenance.compare_report import EXAMPLES, PLACES, Comparison, Counts, Place
from tmon.maintenance.compare_stations import CannotCompare, TooCostly
from tmon.maintenance.compare_tables import COMPARED, NOT_COMPARED

ROOT = Path(__file__).parent.parent.parent
FAR_MS = 1 << 60
MORE = """
insert into calibrations (sensor, from_ms, offset, created_ms) values (1, 5, 0.5, 1);
insert into flags (sensor, from_ms, to_ms, reason, created_ms) values (1, 5, 6, 'wet', 1);
insert into notes (node, at_ms, text, created_ms) values ('attic', 5, 'it''s raining ☔', 1);
insert into limits (sensor, above, created_ms) values (2, 30, 1);
insert into keys (id, gateway, created_ms) values ('0123456789ab', 'roof', 1);
insert into rejected (received_ms, node, value, code, reason)
    values (5, 'attic', 'inf', 'invalid_value', 'no number');
insert into sensor_names (node_uid, wire_name, sensor) values ('uid-attic', 't/"1"', 1);
"""
POSITION = """
insert into stream_positions (partition, snapshot, created, sequence, next_sensor, next_rejected)
    values {}
"""


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A station with a row in each compared table at least."""
    path = tmp_path_factory.mktemp("filled") / "tmon.db"
    with open_database(path, create=True) as db:
        fill(db)
        db.executescript(MORE)
    return path


@pytest.fixture
def two(filled: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Two copies of it."""
    a, b = tmp_path / "a.db", tmp_path / "b.db"
    for copy in (a, b):
        shutil.copy(filled, copy)
    return a, b


def change(path: Path, sql: str) -> None:
    with open_database(path) as db:
        db.execute("pragma foreign_keys = off")
        db.executescript(sql)


def compared(a: object, b: object, until_ms: int = FAR_MS, **clock: Any) -> Comparison:
    with Pair(str(a), str(b)) as pair:
        return compare(pair, until_ms, **({"pause": lambda _: None} | clock))


@contextmanager
def both_served(two: tuple[Path, Path]) -> Iterator[list[str]]:
    with served(two[0]) as a, served(two[1]) as b:
        yield [a.url, b.url]


def test_copies_are_equal(two: tuple[Path, Path]) -> None:
    found = compared(*two)
    assert found.is_equal
    assert set(found.equal_rows) == set(COMPARED)
    assert min(found.equal_rows.values()) > 0


CHANGES = {
    "nodes": "update nodes set description = description || ' ' where name = 'attic'",
    "sensors": "update sensors set quantity = '' where id = 3",  # which was null
    "sensor_names": "update sensor_names set sensor = 2",
    "calibrations": "update calibrations set offset = 0.5000000000000001",
    "flags": "delete from flags",
    "notes": "insert into notes (sensor, at_ms, text, created_ms) values (1, 5, 'dry', 1)",
    "limits": "update limits set above = 30.5",
    "keys": "update keys set generation = 2",
    "rejected": "update rejected set value = '1e999'",
    "readings": f"delete from readings where sensor = 1 and measured_ms = {MARCH_MS}",
}


@pytest.mark.parametrize("table", COMPARED)
def test_a_change_in_any_table_is_found(two: tuple[Path, Path], table: str) -> None:
    change(two[1], CHANGES[table])
    assert set(compared(*two).differences) == {table}
    assert set(compared(two[1], two[0]).differences) == {table}


def test_what_a_station_has_for_itself_makes_no_difference(two: tuple[Path, Path]) -> None:
    change(
        two[1],
        """
        update nodes set last_received_ms = 5, clock_skew_s = 9;
        update keys set devices_waiting = 3;
        delete from hours;
        update rejected set id = id + 5, received_ms = received_ms + 3;
        insert into mutes (until_ms) values (5);
        """,
    )
    assert compared(*two).is_equal


def test_each_table_is_compared_or_said_not_to_be(two: tuple[Path, Path]) -> None:
    with open_database(two[0]) as db:
        assert {*db.table_names()} == {*COMPARED, *NOT_COMPARED}
        for table, local in COMPARED.items():
            assert local <= {*db.table(table).columns_dict}
    page = (ROOT / "docs" / "compare.md").read_text()
    for name in {*COMPARED, *NOT_COMPARED, *(one for local in COMPARED.values() for one in local)}:
        assert f"`{name}`" in page


@pytest.mark.parametrize("bit", [0, 1, 51, 52, 62])
def test_a_flipped_bit_is_found(two: tuple[Path, Path], bit: int) -> None:
    change(
        two[1],
        f"create table bits (value real); insert into bits values ({_flipped(21.4379, bit)!r});"
        "update readings set value = (select value from bits) where sensor = 2 and measured_ms ="
        " (select max(measured_ms) from readings where sensor = 2); drop table bits",
    )
    difference = compared(*two).differences["readings"]
    assert difference.counts == Counts(other_values=1)
    [example] = difference.examples
    assert example.ours == {"value": 21.4379}
    assert example.theirs == {"value": _flipped(21.4379, bit)}


def _flipped(value: float, bit: int) -> float:
    [bits] = struct.unpack("<Q", struct.pack("<d", value))
    [flipped] = struct.unpack("<d", struct.pack("<Q", bits ^ 1 << bit))
    return float(flipped)


def test_a_difference_is_located_by_sensor_and_day(two: tuple[Path, Path]) -> None:
    change(
        two[1],
        f"""
        delete from readings where sensor = 1 and measured_ms < {MARCH_MS + 5 * HOUR_MS};
        update readings set value = 3 where sensor = 1 and measured_ms = {MARCH_MS + 9 * HOUR_MS};
        insert into readings (sensor, measured_ms, value) values (3, -1, 7);
        """,
    )
    with both_served(two) as urls:
        for a, b in (two, urls, (two[0], urls[1])):
            found = compared(a, b)
            difference = found.differences["readings"]
            assert difference.counts == Counts(5, 1, 1)
            assert difference.places == {
                Place(1, MARCH_MS): Counts(5, 0, 1),
                Place(3, -86_400_000): Counts(0, 1, 0),
            }
            assert len(difference.examples) == EXAMPLES
            assert found.labels == {1: "attic temperature", 3: "basement humidity"}
            rest = 20 * 24 - 7 * 24 + 1 - 5 + 3 * 200 - 1
            assert found.equal_rows["readings"] == rest


def test_only_the_first_days_are_listed_and_the_others_counted(two: tuple[Path, Path]) -> None:
    days = "with recursive n (n) as (select 0 union all select n + 1 from n limit 30)"
    change(
        two[1],
        f"insert into readings (sensor, measured_ms, value) {days}"
        " select 4, n * 86400000 + m, n from n, (select 1 as m union select 2)",
    )
    difference = compared(*two).differences["readings"]
    assert difference.counts == Counts(only_in_b=60)
    assert (len(difference.places), difference.more_places) == (PLACES, 30 - PLACES)
    assert list(difference.places.values()) == [Counts(only_in_b=2)] * PLACES
    said = tmon(two[0].parent, "compare", "a.db", "b.db")
    assert "  and 10 more days" in said.stdout.splitlines()


MANY = """
insert into nodes (name, uid, created_ms)
with recursive n (n) as (select 1 union all select n + 1 from n limit 1200)
select char(0x1F300 + n % 500) || '''"%' || n, n, 0 from n;
insert into readings (sensor, measured_ms, value)
with recursive n (n) as (select 1 union all select n + 1 from n limit 8000)
select 4, n, n / 3.0 from n;
"""


@contextmanager
def refusing_more_than(rows: int) -> Iterator[None]:
    """A server's time limit that doesn't depend on how busy this machine is."""

    class Stingy(Checksum):
        left = rows

        def step(self, *values: Any) -> None:
            self.left -= 1
            if self.left < 0:
                raise TimeoutError
            super().step(*values)

    class Plugin:
        @hookimpl(trylast=True)  # type: ignore[untyped-decorator]
        def prepare_connection(self, conn: Any) -> None:
            conn.create_aggregate(SQL_NAME, -1, Stingy)

    plugin = Plugin()
    pm.register(plugin)
    try:
        yield
    finally:
        pm.unregister(plugin)


def test_a_query_that_takes_too_long_is_split(two: tuple[Path, Path]) -> None:
    for path in two:
        change(path, MANY)
    change(
        two[1],
        "delete from readings where sensor = 4 and measured_ms = 5000;"
        "update nodes set area = 'x' where uid = '999'",
    )
    with refusing_more_than(700), both_served(two) as urls:
        found = compared(urls[0], urls[1])
    assert set(found.differences) == {"nodes", "readings"}
    assert found.differences["readings"].places == {Place(4, 0): Counts(only_in_a=1)}
    [example] = found.differences["nodes"].examples
    assert (example.ours, example.theirs) == ({"area": None}, {"area": "x"})
    assert found.equal_rows == compared(*two).equal_rows


def test_a_server_that_refuses_even_a_small_query_ends_the_command(two: tuple[Path, Path]) -> None:
    for path in two:
        change(path, MANY)
    pauses: list[float] = []
    with (
        refusing_more_than(100),
        served(two[0]) as site,
        pytest.raises(CannotCompare, match="a server refuses a small query: user-defined"),
    ):
        compared(site.url, two[1], pause=pauses.append)
    assert len(pauses) == 3


def test_one_side_may_have_far_more_rows_than_the_other(two: tuple[Path, Path]) -> None:
    change(two[1], MANY)
    found = compared(*two)
    assert found.differences["readings"].counts == Counts(only_in_b=8000)
    assert found.differences["nodes"].counts == Counts(only_in_b=1200)
    assert compared(two[1], two[0]).differences["readings"].counts == Counts(only_in_a=8000)


def test_readings_from_until_on_are_left_out(two: tuple[Path, Path]) -> None:
    change(two[1], f"insert into readings (sensor, measured_ms, value) values (3, {MARCH_MS}, 7)")
    assert compared(*two, until_ms=MARCH_MS).is_equal
    assert not compared(*two, until_ms=MARCH_MS + 1).is_equal


def test_what_either_has_pruned_is_left_out(two: tuple[Path, Path]) -> None:
    horizon_ms = MARCH_MS + 48 * HOUR_MS
    change(
        two[1],
        f"update sensors set pruned_before_ms = {horizon_ms} where id in (1, 2);"
        f"delete from readings where sensor = 1 and measured_ms < {horizon_ms}",
    )
    change(two[0], f"update sensors set pruned_before_ms = {horizon_ms - HOUR_MS} where id = 1")
    for a, b in (two, two[::-1]):
        found = compared(a, b)
        assert found.is_equal
        assert found.pruned == 2
    change(
        two[1],
        f"delete from readings where sensor = 1 and measured_ms = {horizon_ms};"
        "delete from readings where sensor = 4",
    )
    assert compared(*two).differences["readings"].counts == Counts(only_in_a=201)


def test_what_arrives_meanwhile_is_no_difference(two: tuple[Path, Path]) -> None:
    change(two[0], MANY)
    missing = f"insert into readings (sensor, measured_ms, value) values (3, {MARCH_MS}, 7)"
    change(two[0], missing)
    arriving = [MANY, missing]
    found = compared(*two, pause=lambda _: change(two[1], arriving.pop(0)) if arriving else None)
    assert found.is_equal
    assert not arriving


def test_what_keeps_changing_is_asked_a_bounded_number_of_times(two: tuple[Path, Path]) -> None:
    def write(_: float) -> None:
        pauses.append(_)
        change(
            two[1],
            f"insert into readings (sensor, measured_ms, value)"
            f" values (3, {MARCH_MS + len(pauses)}, 7)",
        )

    pauses: list[float] = []
    change(two[1], f"insert into readings (sensor, measured_ms, value) values (3, {MARCH_MS}, 7)")
    found = compared(*two, pause=write)
    assert len(pauses) == 6
    assert found.differences["readings"].counts == Counts(only_in_b=len(pauses))  # but the newest


def test_a_running_station_equals_its_own_file(station: Station) -> None:
    ended = False

    def send() -> None:
        for number in range(300):
            if ended:
                return
            reading = {"sensor": "t", "value": number, "measured_ms": MARCH_MS + number}
            assert station.post([reading]).status_code == 201

    station.post([{"sensor": "t", "value": 1, "measured_ms": MARCH_MS - 1}])
    sending = Thread(target=send)
    with served(station.path) as site:
        sending.start()
        try:
            found = compared(site.url, station.path, now_ms())
        finally:
            ended = True
            sending.join()
    assert found.is_equal, found.differences


def refuse(path: Path, *values: str, first: int = 1, received_ms: int = 5) -> None:
    """Put rows into ``rejected`` as the only ones."""
    rows = [(first + n, received_ms + n, value) for n, value in enumerate(values)]
    with open_database(path, in_cluster=True) as db, transaction(db):
        db.execute("delete from rejected")
        db.conn.executemany(
            "insert into rejected (id, received_ms, node, value, code, reason)"
            " values (?, ?, 'attic', ?, 'invalid_value', 'no number')",
            rows,
        )


def test_what_was_refused_must_be_the_same_and_as_often(two: tuple[Path, Path]) -> None:
    many = [f"{number % 900}x" for number in range(2000)]
    refuse(two[0], *many)
    refuse(two[1], *reversed(many), received_ms=70)
    assert compared(*two).is_equal
    refuse(two[1], *many[1:], "500x", "it's ☔")
    difference = compared(*two).differences["rejected"]
    assert difference.counts == Counts(only_in_b=1, other_values=2)
    said = tmon(two[0].parent, "compare", "a.db", "b.db").stdout
    assert "rejected: 1 only in B, 2 with other values\n" in said
    assert "invalid_value attic    500x no number : A times 2; B times 3" in said


def test_refused_readings_that_one_doesnt_keep_any_more_are_left_out(
    two: tuple[Path, Path],
) -> None:
    refuse(two[0], "old", "new", "later")
    refuse(two[1], "new", "later", first=2, received_ms=6)
    assert compared(*two, until_ms=8).differences == {}
    refuse(two[1], "new", "other", first=2, received_ms=6)
    assert compared(*two, until_ms=7).is_equal
    assert set(compared(*two, until_ms=8).differences) == {"rejected"}


def test_machines_of_one_station_refuse_with_the_same_ids(two: tuple[Path, Path]) -> None:
    for path in two:
        change(path, POSITION.format("(0, '', '', 1, 1, 1)"))
        refuse(path, "x")
    assert compared(*two).is_equal
    refuse(two[1], "x", first=2)
    assert compared(*two).differences["rejected"].counts == Counts(only_in_a=1, only_in_b=1)


def test_refused_readings_of_published_stations(two: tuple[Path, Path]) -> None:
    refuse(two[0], *(f"{number}" for number in range(2000)))
    refuse(two[1], *(f"{number}" for number in range(1999)), "☔")
    with both_served(two) as urls:
        difference = compared(urls[0], urls[1]).differences["rejected"]
    assert difference.counts == Counts(only_in_a=1, only_in_b=1)


def test_the_command_says_where_and_exits_as_diff_does(two: tuple[Path, Path]) -> None:
    folder = two[0].parent
    equal = tmon(folder, "compare", "a.db", "b.db")
    assert equal.returncode == 0, equal.stderr
    assert equal.stdout.startswith("equal: ")
    change(two[1], f"{CHANGES['readings']}; {CHANGES['notes']}; {CHANGES['nodes']}")
    differ = tmon(folder, "compare", "a.db", "b.db")
    assert differ.returncode == 1
    for line in (
        "A: a.db",
        "readings: 1 only in A",
        "  attic temperature, 2024-03-01: 1 only in A",
        "  for example attic temperature 2024-03-01T00:00:00Z: A value 10.0; B none",
        "notes: 1 only in B",
        "nodes: 1 with other values",
    ):
        assert line in differ.stdout.splitlines()
    assert "\x1b" not in differ.stdout
    as_json = tmon(folder, "compare", "--json", "a.db", "b.db", "--until", "2024-03-01")
    answer = json.loads(as_json.stdout)
    assert (as_json.returncode, answer["equal"], answer["until_ms"]) == (1, False, MARCH_MS)
    assert set(answer["differences"]) == {"notes", "nodes"}
    assert answer["differences"]["notes"]["only_in_b"] == 1


class _Answering(BaseHTTPRequestHandler):
    """Answers in turn what the test says; the last one again and again."""

    answers: ClassVar[list[tuple[int, str]]] = []

    def do_GET(self) -> None:
        status, text = self.answers[0]
        if len(self.answers) > 1:
            self.answers.pop(0)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None: ...


@contextmanager
def answering(*answers: tuple[int, str]) -> Iterator[str]:
    _Answering.answers = [*answers]
    with HTTPServer(("127.0.0.1", 0), _Answering) as server:
        thread = Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield f"http://user:hidden@127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


FINE = json.dumps({"ok": True, "rows": [[1]], "truncated": False})
NO_FUNCTION = json.dumps({"ok": False, "error": "no such function: tmon_checksum"})
NO_DATABASE = json.dumps({"ok": False, "error": "Database not found"})


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((200, "<html>Welcome to the café</html>"), "something else (status 200)"),
        ((404, NO_DATABASE), "Database not found"),
        ((400, NO_FUNCTION), "a tmon of the same version is needed"),
        ((503, "busy"), "something else (status 503)"),
    ],
)
def test_an_address_without_tmon_is_told_in_one_line(
    two: tuple[Path, Path], answer: tuple[int, str], says: str
) -> None:
    with answering(answer) as url:
        said = tmon(two[0].parent, "compare", "a.db", url)
    assert said.returncode == 2
    assert says in said.stderr
    assert len(said.stderr.splitlines()) == 1
    assert "hidden" not in said.stderr


def test_a_busy_server_is_asked_again() -> None:
    with answering((200, FINE), (429, "{}"), (503, "{}"), (200, FINE)) as url:
        station = DatasetteStation(url, pauses_s=(0, 0, 0))
        assert station.rows("select 1", {}) == [(1,)]
        station.close()
    with answering((200, FINE), (429, json.dumps({"ok": False, "error": "busy"}))) as url:
        station = DatasetteStation(url, pauses_s=(0, 0))
        with pytest.raises(CannotCompare, match="busy"):
            station.rows("select 1", {})
        station.close()


def test_a_cut_off_answer_is_never_taken_for_a_whole_one() -> None:
    with answering((200, FINE), (200, FINE.replace("false", "true"))) as url:
        station = DatasetteStation(url)
        with pytest.raises(TooCostly):
            station.rows("select 1", {})
        station.close()


def test_a_server_that_never_answers_ends_the_command() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        with pytest.raises(CannotCompare, match="too long to answer"):
            DatasetteStation(url, answer_s=0.05)
    with pytest.raises(CannotCompare, match="can't be reached"):
        DatasetteStation(url)


def test_a_station_that_ends_meanwhile_is_named(two: tuple[Path, Path]) -> None:
    with served(two[0]) as site:
        station = DatasetteStation(site.url, pauses_s=(0,))
    with pytest.raises(CannotCompare, match="can't be reached"):
        station.rows("select 1", {})
    station.close()


def test_files_that_cannot_be_compared_are_named(two: tuple[Path, Path]) -> None:
    folder = two[0].parent
    (folder / "letter.txt").write_text("Dear " * 1000)
    change(two[1], "delete from _sqlite_migrations where name like '%notes'")
    for name, says in (
        ("nope.db", "no such database"),
        ("letter.txt", "letter.txt: not a tmon database"),
        (".", "not a file"),
        ("b.db", "made by another version of tmon"),
    ):
        said = tmon(folder, "compare", "a.db", name)
        assert (said.returncode, says in said.stderr) == (2, True), said.stderr
        assert len(said.stderr.splitlines()) == 1
    assert tmon(folder, "compare", "a.db").returncode == 2


def test_stations_of_other_versions_are_not_compared(two: tuple[Path, Path]) -> None:
    change(two[1], "alter table notes add column color text")
    with pytest.raises(CannotCompare, match="the table notes has other columns"):
        compared(*two)


def test_everybody_may_ask_for_a_checksum(two: tuple[Path, Path]) -> None:
    sql = f"select {SQL_NAME}(a, b) as c from (select 1 as a, 'x' as b union all select 1.5, null)"
    checksum = Checksum()
    checksum.step(1, "x")
    checksum.step(1.5, None)
    with served(two[0]) as site:
        assert _first(site, sql) == checksum.finalize()
        assert _first(site, f"select {SQL_NAME}(1) = {SQL_NAME}(1.0) as c") == 0


def _first(site: Site, sql: str) -> Any:
    return site.ask(sql).json()["rows"][0]["c"]
