"""A database or a log that is exchanged under a running writer, or between two runs.

Nothing is acknowledged that a next start wouldn't find, what was acknowledged before is kept,
and what took a file's place is not damaged.
"""

import csv
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from time import sleep

import pytest
import requests
from sqlite_utils import Database

from tests.maintenance.backup_files import add, station, token
from tests.station import Process, answers, wait_for
from tmon.db import identity
from tmon.db.connect import (
    RefusedDatabase,
    open_database,
    open_for_reading,
    sqlite3,
    transaction,
)
from tmon.maintenance.snapshot import copy_snapshot

ROOT = Path(__file__).parent.parent
NOON_MS = 1_795_176_000_000
EARLIER = 1000  # readings that are there before

SENDING = """
import asyncio, sys
from pathlib import Path
from tmon.store import writer_process
from tmon.core.errors import ApiError
from ingest.writer_client import WriterClient
from tmon.core.reading import Batch, Node, Reading

async def stored(client, batch):
    try:
        await client.store(batch)
    except ApiError:  # such as 503, where a file is overwritten during a commit
        return False
    return True

async def send(path, uid):
    client = await WriterClient.connect(writer_process.start(path), on_reply=lambda _: None)
    node = Node(uid, "basement", "basement")
    for count in range(100_000):
        at_ms = 1_795_176_000_000 + count
        batch = Batch(node, at_ms, [Reading(0, "x", float(count), None, at_ms)])
        while not await stored(client, batch):
            await asyncio.sleep(0.05)
        print(count, flush=True)
        await asyncio.sleep(0.002)

asyncio.run(send(Path(sys.argv[1]), sys.argv[2]))
"""


class Sending:
    """A process that stores one reading after the other, and a writing process beside it."""

    def __init__(self, path: Path) -> None:
        with open_for_reading(path) as db:
            uid = db.execute("select uid from nodes").fetchone()[0]
        self._out = path.parent / "acknowledged"
        with self._out.open("w") as out:
            self.popen = subprocess.Popen(
                [sys.executable, "-c", SENDING, str(path), uid],
                stdout=out,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        some = random.randint(20, 60)  # so that tests meet each part of the writer's round
        wait_for(lambda: self.acknowledged() > some)

    def acknowledged(self) -> int:
        """How many readings, counted from the first."""
        return self._out.read_text().count("\n")

    def stop(self) -> None:
        """Stop both processes, the writer when it has nothing to do."""
        os.kill(self.popen.pid, signal.SIGSTOP)
        sleep(0.1)
        os.killpg(self.popen.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.killpg(self.popen.pid, signal.SIGCONT)

    def end(self) -> str:
        """What it says as it ends by itself."""
        _, stderr = self.popen.communicate(timeout=60)
        assert self.popen.returncode == 1
        assert "Traceback" not in stderr
        return stderr

    def kill(self) -> None:
        """Kill -9 of both processes."""
        os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.communicate(timeout=60)


@contextmanager
def sending(path: Path) -> Iterator[Sending]:
    running = Sending(path)
    try:
        yield running
    finally:
        if running.popen.poll() is None:
            running.kill()


def station_with_backup(folder: Path) -> Path:
    """A station's database, and ``backup.db`` of it, which a later log doesn't fit."""
    made = station(folder, EARLIER)
    copy_snapshot(made, folder / "backup.db", lambda _: None)
    with open_database(made) as db:
        add(db, 20_000)
    return made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return station_with_backup(tmp_path)


def stored(path: Path) -> int:
    """How many of what was sent are there; the database must be sound."""
    with open_for_reading(path) as db:
        assert db.execute("pragma integrity_check").fetchone()[0] == "ok"
        query = "select count(*) from readings where measured_ms >= ?"
        return int(db.execute(query, [NOON_MS]).fetchone()[0])


def move_over(path: Path) -> None:
    path.with_name("backup.db").replace(path)


def copy_over(path: Path) -> None:
    shutil.copyfile(path.with_name("backup.db"), path)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def replace_by_empty(path: Path) -> None:
    path.unlink()
    path.touch()


def another_stations(path: Path) -> None:
    other = station(path.parent / "other", 50)
    other.replace(path)


def remove(path: Path) -> None:
    path.unlink()


def remove_all(path: Path) -> None:
    for file in sorted(path.parent.glob("tmon.db*")):  # the database before its log
        file.unlink()


def move_away(path: Path) -> None:
    path.rename(path.with_name("moved.db"))


def move_behind_link(path: Path) -> None:
    path.rename(path.with_name("moved.db"))
    path.symlink_to("moved.db")


def link_and_remove(path: Path) -> None:
    path.with_name("other.db").hardlink_to(path)
    path.unlink()


def move_folder(path: Path) -> None:
    (path.parent / "before").mkdir()
    for file in sorted(path.parent.glob("tmon.db*")):
        file.rename(path.parent / "before" / file.name)


REPLACED: dict[str, tuple[Callable[[Path], None], str]] = {
    "a backup is moved over it": (move_over, "tmon.db.replaced-*Z"),
    "another station's is moved over it": (another_stations, "tmon.db.replaced-*Z"),
    "an empty file takes its place": (replace_by_empty, "tmon.db.replaced-*Z"),
    "it is removed": (remove, "tmon.db.replaced-*Z"),
    "it is removed with its log": (remove_all, "tmon.db.replaced-*Z"),
    "it is moved away": (move_away, "moved.db"),
    "it is moved behind a link": (move_behind_link, "moved.db"),
    "it is removed, and has another name": (link_and_remove, "tmon.db.replaced-*Z"),
    "its folder is moved": (move_folder, "before/tmon.db"),
}


@pytest.mark.parametrize("how", REPLACED)
def test_what_was_acknowledged_is_kept_beside_what_took_its_place(path: Path, how: str) -> None:
    exchange, kept = REPLACED[how]
    with sending(path) as sent:
        exchange(path)
        told = sent.end()
    assert "was removed" in told
    [old] = path.parent.glob(kept)
    assert str(old) in told
    assert stored(old) >= sent.acknowledged()
    assert not path.with_name("tmon.db-wal").exists()
    if path.is_symlink():
        open_database(path).close()
        assert stored(path) >= sent.acknowledged()
    elif path.exists() and path.stat().st_size:
        open_database(path).close()
        assert stored(path) == 0


OPENING = """
import sys
from tmon.db.connect import sqlite3

conn = sqlite3.connect(sys.argv[1])
conn.execute("select count(*) from readings").fetchone()
if sys.argv[2] == "writes":
    conn.execute("update nodes set description = 'by its new name'")
    conn.commit()
print("open", flush=True)
sys.stdin.read()
conn.close()
"""


@contextmanager
def opened(path: Path, does: str) -> Iterator[None]:
    """Another program that has a database open: it ``reads`` or ``writes``, and stays."""
    command = [sys.executable, "-c", OPENING, str(path), does]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe) as program:
        assert program.stdout
        assert program.stdout.readline() == "open\n"
        yield
        program.communicate(timeout=60)
        assert program.returncode == 0


def remove_log_and_index(path: Path) -> None:
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink()


SPLIT: dict[str, tuple[Callable[[Path], None], str]] = {
    "it is moved away": (move_away, "moved.db"),
    "it is moved behind a link": (move_behind_link, "moved.db"),
    "its log and index are removed": (remove_log_and_index, "tmon.db"),
    "its index is removed": (lambda path: path.with_name("tmon.db-shm").unlink(), "tmon.db"),
}


@pytest.mark.parametrize(
    ("does", "until"),
    [("writes", "the writer's end"), ("reads", "the next start"), ("writes", "after it")],
)
@pytest.mark.parametrize("how", SPLIT)
def test_what_another_program_opened_anew_gets_all_that_was_acknowledged(
    path: Path, how: str, does: str, until: str
) -> None:
    """It has a log or an index of its own, which nobody may take from it."""
    exchange, now = SPLIT[how][0], path.with_name(SPLIT[how][1])
    with ExitStack() as later, sending(path) as sent:
        sent.stop()  # so that it is open before the writer looks
        exchange(path)
        program = ExitStack()
        program.enter_context(opened(now, does))
        if until == "the writer's end":
            program.close()
        later.push(program)
        sent.go_on()
        told = sent.end()
        if until == "the next start":
            program.close()
        assert "nothing acknowledged is lost" in told
        open_database(now).close()
        assert stored(now) >= sent.acknowledged()
    open_database(now).close()
    assert stored(now) >= sent.acknowledged()
    if does == "writes":
        with open_for_reading(now) as db:
            found = db.execute("select description from nodes").fetchone()[0]
        assert found == "by its new name"


@pytest.mark.parametrize("does", ["reads", "writes"])
@pytest.mark.parametrize("until", ["the start", "after it"])
def test_a_start_finds_its_database_behind_a_link_and_opened(
    path: Path, does: str, until: str
) -> None:
    with sending(path) as sent:
        sent.kill()
    move_behind_link(path)
    with ExitStack() as program:
        program.enter_context(opened(path.with_name("moved.db"), does))
        if until == "the start":
            program.close()
        open_database(path).close()
        assert stored(path) >= sent.acknowledged()
    open_database(path).close()
    assert stored(path) >= sent.acknowledged()


def another_log(path: Path) -> Path:
    """A log with readings of another database, as if it had been used until a power cut."""
    other = station(path.parent / "another", 10)
    with open_database(other) as db:
        add(db, 100)
        return Path(shutil.copyfile(f"{other}-wal", path.with_name("another-wal")))


LOGS: dict[str, Callable[[Path], object]] = {
    "-wal is removed": lambda path: path.with_name("tmon.db-wal").unlink(),
    "-wal is moved away": lambda path: path.with_name("tmon.db-wal").rename(path.parent / "log"),
    "-wal is replaced": lambda path: (path.parent / "backup.db").replace(f"{path}-wal"),
    "-wal is replaced by another": lambda path: another_log(path).replace(f"{path}-wal"),
    "-shm is removed": lambda path: path.with_name("tmon.db-shm").unlink(),
    "both are removed": lambda path: [*map(os.unlink, (f"{path}-wal", f"{path}-shm"))],
}


@pytest.mark.parametrize("how", LOGS)
def test_a_log_that_is_removed_is_put_back_before_more_is_acknowledged(
    path: Path, how: str
) -> None:
    with sending(path) as sent:
        LOGS[how](path)
        told = sent.end()
    assert "nothing acknowledged is lost" in told
    open_database(path).close()  # as a next start does
    assert stored(path) >= sent.acknowledged()


@pytest.mark.parametrize("size", [0, 100, 20_000])
def test_a_log_that_is_cut_short_ends_the_writer_and_is_not_applied(path: Path, size: int) -> None:
    with sending(path) as sent:
        os.truncate(f"{path}-wal", size)
        before = sent.acknowledged()
        told = sent.end()
    assert sent.acknowledged() <= before + 1  # one may have been on its way
    assert "tmon.db-wal was cut short" in told
    [aside] = path.parent.glob("tmon.db-wal.replaced-*")
    assert str(aside) in told
    open_database(path).close()
    assert stored(path) < before


@pytest.mark.parametrize("overwrite", [copy_over, empty])
def test_a_database_that_is_overwritten_in_place_ends_the_writer(
    path: Path, overwrite: Callable[[Path], None]
) -> None:
    with sending(path) as sent:
        overwrite(path)
        assert "tmon.db was overwritten with another file" in sent.end()
    assert [*path.parent.glob("tmon.db-wal.replaced-*")]
    if path.stat().st_size:
        open_database(path).close()
        assert stored(path) == 0


def test_a_link_that_leads_elsewhere_ends_the_writer(path: Path) -> None:
    link = path.parent / "folder" / "link.db"
    link.parent.mkdir()
    link.symlink_to(path)
    with sending(path) as other:
        other.kill()
    running = Sending(link)
    link.unlink()
    link.symlink_to(path.with_name("backup.db"))
    assert "link.db was removed or replaced" in running.end()
    assert path.with_name("tmon.db-wal").exists()
    assert stored(path) >= running.acknowledged()
    assert stored(path.with_name("backup.db")) == 0


def test_a_link_to_the_same_file_by_another_name_ends_the_writer(path: Path) -> None:
    """The other name has another log."""
    link = path.parent / "folder" / "link.db"
    link.parent.mkdir()
    link.symlink_to(path)
    with sending(path) as other:
        other.kill()
    open_database(path).close()
    path.with_name("other.db").hardlink_to(path)
    running = Sending(link)
    link.unlink()
    link.symlink_to(path.with_name("other.db"))
    assert "link.db was removed or replaced" in running.end()
    open_database(path).close()
    assert stored(path) >= running.acknowledged()


def move_behind_two_links(path: Path) -> None:
    move_behind_link(path)
    path.rename(path.with_name("first.db"))
    path.symlink_to("first.db")


@pytest.mark.parametrize("move", [move_behind_link, move_behind_two_links])
def test_a_start_brings_the_log_to_where_its_database_was_moved(
    path: Path, move: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    with sending(path) as sent:
        sent.kill()
    move(path)
    open_database(path).close()
    open_database(path).close()
    assert stored(path) >= sent.acknowledged()
    assert "is a link that leads elsewhere" in caplog.text
    assert not path.with_name("tmon.db-wal").exists()
    assert not [*path.parent.glob("*.replaced-*")]


def test_a_start_sets_a_log_aside_that_lies_beside_a_link_to_another_database(path: Path) -> None:
    with sending(path) as sent:
        sent.kill()
    path.rename(path.with_name("moved.db"))
    path.symlink_to("backup.db")
    open_database(path).close()
    [aside] = path.parent.glob("tmon.db-wal.replaced-*")
    assert stored(path) == 0
    aside.rename(path.with_name("moved.db-wal"))
    assert stored(path.with_name("moved.db")) >= sent.acknowledged()


@pytest.mark.parametrize("exchange", [move_over, copy_over, another_stations])
def test_a_start_sets_aside_the_log_of_a_database_that_was_replaced_meanwhile(
    path: Path, exchange: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    with sending(path) as sent:
        sent.kill()
    log = path.with_name("tmon.db-wal").read_bytes()
    exchange(path)
    with pytest.raises(RefusedDatabase, match="was written for another file"):
        open_for_reading(path)
    with pytest.raises(RefusedDatabase, match="was written for another file"):
        copy_snapshot(path, path.with_name("copy.db"), lambda _: None)
    open_database(path).close()
    [aside] = path.parent.glob("tmon.db-wal.replaced-*")
    assert aside.read_bytes() == log
    assert str(aside) in caplog.text
    assert stored(path) == 0
    open_database(path).close()
    assert [*path.parent.glob("tmon.db-wal.replaced-*")] == [aside]


def readings_in(log: Path, database: Path) -> dict[tuple[int, int], float]:
    """What the script of docs/backup.md prints."""
    command = [sys.executable, str(ROOT / "scripts" / "readings_in_log.py"), str(log)]
    ran = subprocess.run(
        [*command, str(database)], capture_output=True, text=True, check=True, timeout=60
    )
    rows = csv.DictReader(ran.stdout.splitlines())
    return {(int(row["sensor"]), int(row["measured_ms"])): float(row["value"]) for row in rows}


def test_the_readings_of_a_log_that_was_set_aside_can_be_had(path: Path) -> None:
    with open_database(path) as db:
        db.execute("update readings set value = value + 0.5")
        db.execute("pragma wal_checkpoint(truncate)")
    with sending(path) as sent:
        sent.kill()
    move_over(path)
    open_database(path).close()
    [aside] = path.parent.glob("tmon.db-wal.replaced-*")
    found = {measured_ms: value for (_, measured_ms), value in readings_in(aside, path).items()}
    for count in range(sent.acknowledged()):
        assert found[NOON_MS + count] == count


OTHER_TREES = (
    "incidents (finding, severity, reason, sensor, from_ms, to_ms) values ('T1', 'warning', '', 1",
    "flags (reason, created_ms, sensor, from_ms, to_ms) values ('', 0, 1",
    "calibrations (scale, created_ms, sensor, from_ms, offset) values (1, 0, 1",
    "mine (sensor, at_ms, more) values (1",
    "smoothed (sensor, at_ms, value) values (1",
)


@pytest.mark.parametrize("rows", [3, 3000])
def test_no_row_of_another_table_is_taken_for_a_reading(path: Path, rows: int) -> None:
    """Indexes of three integers, and a table of the owner's that looks like `readings`."""
    with open_database(path) as db:
        db.conn.executescript(
            """
            create table mine (sensor integer, at_ms integer, more integer);
            create index mine_sensor on mine (sensor, at_ms);
            create table smoothed (
                sensor integer, at_ms integer, value real, primary key (sensor, at_ms)
            ) without rowid;
            """
        )
    copy_snapshot(path, path.with_name("later.db"), lambda _: None)
    readings = {
        (1, NOON_MS + 7 * count): count if count % 3 else count / 8 for count in range(rows)
    }
    db = open_database(path)
    with transaction(db):
        for (sensor, measured_ms), value in readings.items():
            insert = "insert into readings (sensor, measured_ms, value) values (?, ?, ?)"
            db.execute(insert, [sensor, measured_ms, value])
            for into in OTHER_TREES:
                db.execute(f"insert into {into}, ?, ?)", [measured_ms + 1, measured_ms + 2])
    log = shutil.copyfile(f"{path}-wal", path.with_name("log"))
    db.close()
    assert readings_in(log, path.with_name("later.db")) == readings


def test_an_inode_that_is_used_again_doesnt_hide_that(path: Path) -> None:
    """As a file system does that gives a new file the number of the last one removed."""
    with sending(path) as sent:
        sent.kill()
    copy_over(path)
    os.utime(path, (0, 0))
    open_database(path).close()
    assert stored(path) == 0


BELONGS: dict[str, Callable[[Path], Path]] = {
    "killed": lambda path: path,
    "moved": lambda path: Path(shutil.move(path.parent, f"{path.parent}-moved")) / path.name,
    "copied": lambda path: (
        Path(shutil.copytree(path.parent, f"{path.parent}-copy", copy_function=shutil.copyfile))
        / path.name
    ),
    "copied with its note": lambda path: (
        Path(shutil.copytree(path.parent, f"{path.parent}-copy", copy_function=shutil.copy2))
        / path.name
    ),
}


@pytest.mark.parametrize("how", BELONGS)
def test_a_log_that_belongs_to_its_database_is_applied(path: Path, how: str) -> None:
    with sending(path) as sent:
        sent.kill()
    acknowledged = sent.acknowledged()
    now = BELONGS[how](path)
    open_database(now).close()
    assert stored(now) >= acknowledged
    assert not [*now.parent.glob("*.replaced-*")]


def test_a_checkpoint_that_was_killed_leaves_the_log_its_database(path: Path) -> None:
    """It writes the first page first, which says how long the file will be."""
    with sending(path) as sent:
        sent.kill()
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2 // 4096 * 4096)
    assert not identity.has_foreign_log(path)


def test_what_a_killed_checkpoint_left_is_completed_from_the_log(path: Path) -> None:
    with sending(path) as sent:
        sent.kill()
    before, log = path.stat().st_size, path.with_name("tmon.db-wal")
    with open_database(path) as db:
        add(db, 20_000)
        shutil.copy2(log, path.with_name("log"))
    path.with_name("log").rename(log)
    os.truncate(path, before)
    with pytest.raises(sqlite3.DatabaseError, match="malformed"):
        Database(sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)).table_names()
    open_database(path).close()
    assert stored(path) >= sent.acknowledged()


@pytest.mark.parametrize("how", ["removed", "emptied"])
def test_a_start_without_the_log_that_was_in_use_says_so(
    path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    with sending(path) as sent:
        sent.kill()
    log = path.with_name("tmon.db-wal")
    log.unlink() if how == "removed" else os.truncate(log, 0)
    open_database(path).close()
    assert "its log is gone or empty" in caplog.text
    caplog.clear()
    open_database(path).close()
    assert "its log is gone" not in caplog.text


def test_a_log_that_is_damaged_in_its_middle_is_kept(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with sending(path) as sent:
        sent.kill()
    log = path.with_name("tmon.db-wal")
    with log.open("r+b") as file:
        file.seek(log.stat().st_size // 2)
        file.write(b"\xa5" * 8)
    damaged = log.read_bytes()
    open_database(path).close()
    [kept] = path.parent.glob("tmon.db-wal.damaged-*")
    assert kept.read_bytes() == damaged
    assert str(kept) in caplog.text
    assert stored(path) < sent.acknowledged()


def test_a_log_whose_last_transaction_is_not_whole_is_not_kept(path: Path) -> None:
    """As kill -9 or a power cut leaves it."""
    with sending(path) as sent:
        sent.kill()
    log = path.with_name("tmon.db-wal")
    os.truncate(log, log.stat().st_size - 4096)
    open_database(path).close()
    assert not [*path.parent.glob("*.damaged-*")]


def test_a_log_that_began_anew_many_times_still_belongs(path: Path) -> None:
    with sending(path) as sent:
        with open_database(path) as db:
            for _ in range(5):
                add(db, 500)
                db.execute("pragma wal_checkpoint(restart)")
        now = sent.acknowledged()
        wait_for(lambda: sent.acknowledged() > now + 20)
        sent.kill()
    open_database(path).close()
    assert stored(path) >= sent.acknowledged()


def test_an_owners_own_user_version_is_no_other_file(path: Path) -> None:
    with sending(path) as sent:
        with open_database(path) as db:
            db.execute("pragma user_version = 7")
            db.execute("pragma wal_checkpoint(full)")
        now = sent.acknowledged()
        wait_for(lambda: sent.acknowledged() > now + 20)
        sent.kill()
    open_database(path).close()
    assert stored(path) >= sent.acknowledged()
    assert not [*path.parent.glob("*.replaced-*")]


class Services:
    """Ingest and Datasette, each a service of its own, as systemd runs them."""

    def __init__(self, folder: Path) -> None:
        self.ingest = Process(folder, "serve", "ingest", "--port", "0")
        self._readings = f"{self.ingest.addresses(1)['ingest']}/readings"
        self._headers = {"Authorization": f"Bearer {token(folder)}"}
        assert self.post("first") == 201
        self.datasette = Process(folder, "serve", "datasette", "--datasette-port", "0")
        self._pages = self.datasette.addresses(1)["datasette"]
        wait_for(lambda: answers(f"{self._pages}/tmon.json"))

    def post(self, sensor: str) -> int:
        """The answer's status; 0 where there is none."""
        body = {"sensor": sensor, "value": 1}
        try:
            answer = requests.post(self._readings, json=body, headers=self._headers, timeout=60)
        except requests.ConnectionError:
            return 0
        return answer.status_code

    def published(self) -> list[str]:
        """The sensors that there are readings of; none where the machine is too busy to say."""
        url = f"{self._pages}/tmon/sensors.json?_shape=array&_size=max"
        answer = requests.get(url, timeout=60)
        return [sensor["name"] for sensor in answer.json()] if answer.ok else []

    def kill(self) -> None:
        self.ingest.kill()
        self.datasette.kill()


@pytest.mark.parametrize("exchange", [move_over, LOGS["-wal is removed"]])
def test_both_services_end_and_the_next_start_goes_on_with_what_is_there(
    path: Path, exchange: Callable[[Path], object]
) -> None:
    before = Services(path.parent)
    try:
        exchange(path)
        wait_for(lambda: before.post("later") == 0)  # a 503 before that is no answer to keep
        assert before.ingest.end()[0] == 1
        assert "start again to publish" in before.datasette.end()[1]
    finally:
        before.kill()
    after = Services(path.parent)
    try:
        assert after.post("again") == 201
        wait_for(lambda: {"first", "again"} <= {*after.published()})
    finally:
        after.kill()
    assert stored(path) > 0


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_files_are_exchanged_twenty_times_under_load(tmp_path: Path) -> None:
    for turn in range(20):
        for number, (how, does) in enumerate(product(SPLIT, ("reads", "writes"))):
            until = ("the writer's end", "the next start", "after it")[turn % 3]
            test_what_another_program_opened_anew_gets_all_that_was_acknowledged(
                station_with_backup(tmp_path / f"{turn} split {number}"), how, does, until
            )
        for number, how in enumerate(REPLACED):
            test_what_was_acknowledged_is_kept_beside_what_took_its_place(
                station_with_backup(tmp_path / f"{turn} replaced {number}"), how
            )
        for number, how in enumerate(LOGS):
            test_a_log_that_is_removed_is_put_back_before_more_is_acknowledged(
                station_with_backup(tmp_path / f"{turn} log {number}"), how
            )
        for number, overwrite in enumerate((copy_over, empty)):
            test_a_database_that_is_overwritten_in_place_ends_the_writer(
                station_with_backup(tmp_path / f"{turn} over {number}"), overwrite
            )
