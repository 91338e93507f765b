"""Group commit: what is shared, what fails alone, and what heals by itself."""

import asyncio
import fcntl
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest
import requests
from sqlite_utils import Database

from ingest.writer_client import BACKLOG_READINGS, WriterClient
from tests.station import Process, Station, answers, free, holds_within_a_second, tmon, wait_for
from tmon.core.errors import DiskFull, Locked, Overloaded, Replaced, Unavailable
from tmon.core.reading import Batch, Node, Reading, Receipt, Rejection
from tmon.db import nodes
from tmon.db.connect import open_database, open_for_reading
from tmon.db.wal import Wal
from tmon.store.commit import Store
from tmon.store.messages import COMMIT_READINGS, MessageReader, Reply, encode_batch, encode_message
from tmon.store.writer import batch_writer
from tmon.store.writer_process import run_writer

NOON_MS = 1_795_176_000_000


def node_in(path: Path, name: str = "basement") -> Node:
    with open_database(path, create=True) as db:
        known = nodes.find_or_make(db, name)
    return Node(known.uid, known.name, known.name)


def batch(node: Node, *values: float, sensor: str = "x", at_ms: int = NOON_MS) -> Batch:
    readings = [Reading(i, sensor, value, None, at_ms + i) for i, value in enumerate(values)]
    return Batch(node, NOON_MS, readings)


@asynccontextmanager
async def client_of_writer(
    path: Path,
    *,
    wal: Callable[[Database], Wal] = Wal,
    prepare: Callable[[Database], object] = lambda _: None,
) -> AsyncIterator[WriterClient]:
    """A client of a writer in a thread; `tmon serve` has it in a process."""
    ours, theirs = socket.socketpair()

    def write() -> None:
        with theirs, open_database(path) as db:
            log = wal(db)
            prepare(db)
            batch_writer(db, log, theirs).run()
            log.close()

    thread = threading.Thread(target=write)
    thread.start()
    client = await WriterClient.connect(ours, on_reply=lambda _: None)
    try:
        yield client
    finally:
        await client.close()
        thread.join()


def test_requests_that_come_together_share_commits(tmp_path: Path) -> None:
    node = node_in(tmp_path / "tmon.db")
    inserts: set[str] = set()  # traced once for each row
    sent = threading.Event()

    def slow(sql: str) -> None:
        if sql.startswith("begin"):
            sent.wait(60)  # a slow disk
        if sql.startswith("insert into readings"):
            inserts.add(sql)

    def trace(db: Database) -> None:
        db.conn.set_trace_callback(slow)

    async def run() -> list[Receipt]:
        async with client_of_writer(tmp_path / "tmon.db", prepare=trace) as client:
            batches = [batch(node, 1.0, sensor=f"s{i}") for i in range(100)]
            each = [asyncio.create_task(client.store(one)) for one in batches]
            await asyncio.sleep(0.1)
            sent.set()
            return await asyncio.gather(*each)

    receipts = asyncio.run(run())
    assert [receipt.accepted for receipt in receipts] == [1] * 100
    assert 1 <= len(inserts) <= 3


@pytest.mark.parametrize("size", [1, COMMIT_READINGS])
def test_one_bad_batch_never_fails_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, size: int
) -> None:
    """Neither those in its transaction nor, where it fills that, those that wait for the next."""
    node = node_in(tmp_path / "tmon.db")
    nobody = Node("no-such-uid", "nobody", "nobody")  # an error deep in the commit

    async def run() -> list[Receipt | BaseException]:
        bad = batch(nobody, *[2.0] * size)
        batches = [batch(node, 1.0, sensor="a"), bad, batch(node, 3.0, sensor="b")]
        async with client_of_writer(tmp_path / "tmon.db") as client:
            return await asyncio.gather(*map(client.store, batches), return_exceptions=True)

    first, bad, last = asyncio.run(run())
    assert isinstance(bad, Unavailable)
    assert isinstance(first, Receipt)
    assert isinstance(last, Receipt)
    assert (first.accepted, last.accepted) == (1, 1)
    assert "a batch of nobody can't be stored" in caplog.text


def test_duplicates_and_conflicts_within_one_commit(tmp_path: Path) -> None:
    node = node_in(tmp_path / "tmon.db")
    with open_database(tmp_path / "tmon.db") as db:
        receipts = Store(db).commit([batch(node, 1.0), batch(node, 1.0, 2.0), batch(node, 5.0)])
    assert [(r.accepted, r.duplicates, len(r.rejected)) for r in receipts] == [
        (1, 0, 0),
        (1, 1, 0),
        (0, 0, 1),
    ]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 1023, 1024, 1025, 2500])
def test_any_number_of_rows_is_stored(tmp_path: Path, count: int) -> None:
    node = node_in(tmp_path / "tmon.db")
    with open_database(tmp_path / "tmon.db") as db:
        [receipt] = Store(db).commit([batch(node, *map(float, range(count)))])
        assert receipt.accepted == count == db.table("readings").count


def test_values_come_back_to_the_last_bit(tmp_path: Path) -> None:
    node = node_in(tmp_path / "tmon.db")
    values = [0.1 + 0.2, 1 / 3, 5e-324, -1.7976931348623157e308, 21.04490841111111]
    with open_database(tmp_path / "tmon.db") as db:
        Store(db).commit([batch(node, *values)])
        assert [row[0] for row in db.execute("select value from readings")] == values
        [again] = Store(db).commit([batch(node, *values)])
        assert again.duplicates == len(values)


def test_batches_that_wait_are_committed_without_further_messages(tmp_path: Path) -> None:
    node = node_in(tmp_path / "tmon.db")
    refused = [Rejection(i, "invalid_value", "") for i in range(COMMIT_READINGS)]
    ours, theirs = socket.socketpair()
    with ours, ThreadPoolExecutor() as pool:
        ended = pool.submit(run_writer, theirs, tmp_path / "tmon.db")
        full = encode_batch(Batch(node, NOON_MS, (), refused))  # a transaction's size
        pool.submit(ours.sendall, encode_message([(number, full) for number in range(1, 21)]))
        ours.settimeout(60)
        replies, answered = MessageReader(Reply), 0
        while answered < 20:
            answered += sum(len(reply.results) for reply in replies.feed(ours.recv(1 << 20)))
        ours.shutdown(socket.SHUT_WR)
        ended.result(60)


def test_a_full_backlog_is_refused_and_nothing_of_it_stored(tmp_path: Path) -> None:
    node = node_in(tmp_path / "tmon.db")
    full = batch(node, *[1.0] * BACKLOG_READINGS)

    async def run() -> None:
        async with client_of_writer(tmp_path / "tmon.db") as client:
            taken = asyncio.create_task(client.store(full))
            await asyncio.sleep(0)
            with pytest.raises(Overloaded):
                await client.store(batch(node, 1.0, sensor="late"))
            assert (await taken).accepted == BACKLOG_READINGS
            assert client.backlog == 0
            later = await client.store(batch(node, 1.0, sensor="later"))
            assert later.accepted == 1

    asyncio.run(run())
    with open_database(tmp_path / "tmon.db") as db:
        assert not list(db.table("sensors").rows_where("name = 'late'"))


def test_a_full_disk_is_503_and_heals_by_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says when it begins and when it ends, not each time."""
    node = node_in(tmp_path / "tmon.db")
    large = batch(node, *map(float, range(5000)), sensor="large")
    dbs: list[Database] = []

    def pages(limit: int) -> None:
        dbs[0].execute(f"pragma max_page_count = {limit}")  # what SQLite says then is: disk is full

    async def run() -> None:
        async with client_of_writer(tmp_path / "tmon.db", prepare=dbs.append) as client:
            assert (await client.store(batch(node, 1.0))).accepted == 1
            pages(1)
            for _ in range(2):
                with pytest.raises(DiskFull):
                    await client.store(large)
            pages(1_000_000)
            assert (await client.store(large)).accepted == 5000

    asyncio.run(run())
    assert caplog.messages == [
        "readings can't be stored: database or disk is full",
        "readings are stored again",
    ]


def test_a_locked_database_is_503_and_heals_by_itself(station: Station) -> None:
    station.post({"value": 1})
    with open_database(station.path) as other:
        other.execute("begin immediate")
        answer = station.post({"value": 2})
        assert (answer.status_code, answer.json()["code"]) == (503, "locked")
        assert int(answer.headers["Retry-After"]) > 0
        healthy = station.http.get(f"{station.url}/healthz", timeout=60)
        assert healthy.status_code == 200
        other.execute("rollback")
    assert station.post({"value": 2}).status_code == 201
    assert station.query("select value from readings order by measured_ms") == [(1.0,), (2.0,)]


def test_all_batches_that_wait_for_a_lock_fail_together(tmp_path: Path) -> None:
    node = node_in(tmp_path / "tmon.db")
    transactions: list[str] = []

    def trace(db: Database) -> None:
        db.conn.set_trace_callback(lambda sql: transactions.extend([sql] * sql.startswith("begin")))

    async def run() -> None:
        async with client_of_writer(tmp_path / "tmon.db", prepare=trace) as client:
            with open_database(tmp_path / "tmon.db") as other:
                other.execute("begin immediate")
                many = [batch(node, *[1.0] * 6000, sensor=f"s{i}") for i in range(8)]
                results = await asyncio.gather(*map(client.store, many), return_exceptions=True)
                assert len(transactions) <= 2  # each waited for the lock
        assert [type(result) for result in results] == [Locked] * 8

    asyncio.run(run())


def test_a_failed_flush_doesnt_stop_the_writer(tmp_path: Path) -> None:
    node = node_in(tmp_path / "tmon.db")
    with open_database(tmp_path / "tmon.db") as db:
        db.execute("create trigger no before update on nodes begin select raise(abort, 'no'); end")

    async def run() -> None:
        async with client_of_writer(tmp_path / "tmon.db") as client:
            await client.store(batch(node, 1.0))
        # at its end it writes down who was heard, which fails

    asyncio.run(run())
    with open_database(tmp_path / "tmon.db") as db:
        assert db.table("readings").count == 1


def test_another_writers_changes_to_sensors_are_seen_within_a_second(station: Station) -> None:
    percent = {"sensor": "co2", "value": 40, "unit": "%"}
    station.post({"sensor": "co2", "value": 400, "unit": "ppm"})
    assert station.post(percent).json()["rejected"][0]["code"] == "unit_mismatch"
    with open_database(station.path) as other:
        other.execute("update sensors set unit = '%'")
    holds_within_a_second(lambda: station.post(percent).json()["accepted"] == 1)


def test_a_sensor_whose_transaction_failed_is_made_again(tmp_path: Path) -> None:
    node = node_in(tmp_path / "tmon.db")
    with open_database(tmp_path / "tmon.db") as db:
        store = Store(db)
        nobody = Node("no-such-uid", "nobody", "nobody")
        with pytest.raises(Exception, match="no node has the uid"):
            store.commit([batch(node, 1.0), batch(nobody, 1.0)])
        [receipt] = store.commit([batch(node, 1.0)])
        assert receipt.accepted == 1


def test_many_connections_at_once_lose_and_double_nothing(station: Station) -> None:
    def send(sender: int) -> int:
        accepted = 0
        for i in range(20):
            body = [{"sensor": f"s{i}", "value": sender, "measured_ms": NOON_MS - sender * 60_000}]
            accepted += station.post(body, node=f"n{sender % 4}").json()["accepted"]
        return accepted

    with ThreadPoolExecutor(16) as pool:
        accepted = sum(pool.map(send, range(16)))
    assert accepted == 16 * 20 == station.count()
    wait_for(lambda: station.http.get(f"{station.url}/healthz", timeout=60).json()["backlog"] == 0)


class Held(Wal):
    """A disk that takes its time, until it is released."""

    def __init__(self, db: Database) -> None:
        super().__init__(db)
        self.asked = threading.Semaphore(0)
        self.released = threading.Event()
        self.syncs = 0

    def sync(self) -> None:
        self.asked.release()
        assert self.released.wait(60)
        super().sync()
        self.syncs += 1


def test_a_socket_may_have_any_number(tmp_path: Path) -> None:
    """In a process with over a thousand open files."""
    node = node_in(tmp_path / "tmon.db")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2000), hard))
    ours, theirs = socket.socketpair()
    numbered = socket.socket(fileno=fcntl.fcntl(theirs, fcntl.F_DUPFD_CLOEXEC, 1500))
    theirs.close()
    thread = threading.Thread(target=run_writer, args=[numbered, tmp_path / "tmon.db"])
    thread.start()
    with ours:
        ours.sendall(encode_message([(1, encode_batch(batch(node, 1.0)))]))
        [reply] = MessageReader(Reply).feed(ours.recv(65536))
    thread.join()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert reply.results == [(1, Receipt(1, 0, []))]


def test_nothing_is_acknowledged_before_it_is_on_the_disk(tmp_path: Path) -> None:
    """What comes meanwhile is one transaction, with one wait."""
    node = node_in(tmp_path / "tmon.db")
    wals: list[Held] = []

    def held(db: Database) -> Held:
        wals.append(Held(db))
        return wals[0]

    def count() -> int:
        with open_for_reading(tmp_path / "tmon.db") as db:
            return int(db.table("readings").count)

    async def run() -> list[Receipt]:
        async with client_of_writer(tmp_path / "tmon.db", wal=held) as client:
            sent = [asyncio.create_task(client.store(batch(node, 1.0, sensor="first")))]
            await asyncio.to_thread(lambda: wait_for(lambda: wals and wals[0].asked.acquire(False)))
            for i in range(5):
                one = batch(node, 1.0, sensor=f"s{i}")
                sent.append(asyncio.create_task(client.store(one)))
                await asyncio.sleep(0.01)
            assert not any(each.done() for each in sent)
            assert (client.backlog, await asyncio.to_thread(count)) == (6, 1)
            wals[0].released.set()
            return await asyncio.gather(*sent)

    assert [receipt.accepted for receipt in asyncio.run(run())] == [1] * 6
    assert wals[0].syncs == 2


def test_files_that_are_replaced_during_a_sync_end_the_writer(
    tmp_path: Path,
) -> None:
    """What was committed just then is in the file that is still open, to be saved from there."""
    path = tmp_path / "tmon.db"
    node = node_in(path)
    ours, theirs = socket.socketpair()
    with ours, theirs, open_database(path) as db, ThreadPoolExecutor() as pool:
        held = Held(db)
        writer = batch_writer(db, held, theirs)
        ended = pool.submit(writer.run)
        ours.sendall(encode_message([(1, encode_batch(batch(node, 1.0)))]))
        assert held.asked.acquire(timeout=60)
        path.rename(tmp_path / "moved.db")
        held.released.set()
        with pytest.raises(Replaced):
            ended.result(60)
        assert db.table("readings").count == 1


def test_close_waits_for_the_disk(tmp_path: Path) -> None:
    node = node_in(tmp_path / "tmon.db")
    wals: list[Held] = []

    def held(db: Database) -> Held:
        wals.append(Held(db))
        return wals[0]

    async def run() -> list[Receipt]:
        async with client_of_writer(tmp_path / "tmon.db", wal=held) as client:
            first = asyncio.create_task(client.store(batch(node, 1.0, sensor="first")))
            await asyncio.to_thread(lambda: wait_for(lambda: wals and wals[0].asked.acquire(False)))
            second = asyncio.create_task(client.store(batch(node, 1.0, sensor="second")))
            await asyncio.sleep(0)
            threading.Timer(0.3, wals[0].released.set).start()
        return [await first, await second]  # answered before the line ended

    assert [receipt.accepted for receipt in asyncio.run(run())] == [1, 1]


def test_a_client_that_is_gone_before_its_reply_ends_the_writer(tmp_path: Path) -> None:
    node = node_in(tmp_path / "tmon.db")
    ours, theirs = socket.socketpair()
    with ThreadPoolExecutor() as pool:
        with ours:
            ended = pool.submit(run_writer, theirs, tmp_path / "tmon.db")
            ours.sendall(encode_message([(1, encode_batch(batch(node, 1.0)))]))
            assert ours.recv(1, socket.MSG_PEEK)
        ended.result(60)


FAILING_DISK = """
import os, sys
from pathlib import Path
from tmon.store import writer_process
from tmon.store.messages import encode_batch, encode_message
from tmon.core.reading import Batch, Node, Reading
from tmon.db.wal import Wal

def fail(wal):
    raise OSError(5, "Input/output error")

path, uid, name = sys.argv[1:]
Wal.sync = fail
sock = writer_process.start(Path(path))
batch = Batch(Node(uid, name, name), 1_795_176_000_000, [Reading(0, "x", 1.0, None, 10**12)])
sock.sendall(encode_message([(1, encode_batch(batch))]))
print("received", len(sock.recv(1000)), "ended", os.waitstatus_to_exitcode(os.wait()[1]))
"""


def test_a_disk_that_fails_ends_the_writer_before_it_acknowledges(tmp_path: Path) -> None:
    node = node_in(tmp_path / "tmon.db")
    command = [sys.executable, "-c", FAILING_DISK, str(tmp_path / "tmon.db"), node.uid, node.name]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout == "received 0 ended 1\n"
    assert "readings can't be stored any more: [Errno 5] Input/output error" in ended.stderr


SENDING = """
import os, sys
from pathlib import Path
from tmon.store import writer_process
from tmon.store.messages import encode_batch, encode_message
from tmon.core.reading import Batch, Node, Reading, Receipt
from tmon.store.commit import Store

def odd(size):
    Store.commit = lambda self, batches: [Receipt(size, 0, ()) for _ in batches]

path, uid, name, store, said = sys.argv[1:]
exec(store)
batch = Batch(Node(uid, name, name), 1_795_176_000_000, [Reading(0, "x", 1.0, None, 10**12)])
one = encode_batch(batch)
sock = writer_process.start(Path(path))
sock.sendall(eval(said))
print("received", len(sock.recv(1000)), "ended", os.waitstatus_to_exitcode(os.wait()[1]))
"""


@pytest.mark.parametrize(
    ("said", "store"),
    [
        ("encode_message([(2, one)])", ""),
        ("encode_message([(0, one)])", ""),
        ("encode_message([(1, one), (1, one)])", ""),
        ("encode_message([(1, one), (3, one)])", ""),
        ("encode_message([one])", ""),
        ("encode_message([(1, 'a batch')])", ""),
        ("b'GET / HTTP/1.1'", ""),
        ("encode_message([(1, one)])", "odd(0)"),
        ("encode_message([(1, one)])", "odd(2)"),
    ],
)
def test_an_impossible_message_ends_the_writer_before_it_acknowledges(
    tmp_path: Path, said: str, store: str
) -> None:
    node = node_in(tmp_path / "tmon.db")
    of_node = [str(tmp_path / "tmon.db"), node.uid, node.name]
    command = [sys.executable, "-c", SENDING, *of_node, store, said]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout == "received 0 ended 1\n"
    assert "readings can't be stored any more" in ended.stderr


class Ingest:
    """``tmon serve ingest``, its writing process, and how one posts to it."""

    def __init__(self, folder: Path) -> None:
        self.process = Process(folder, "serve", "ingest", "--port", "0")
        self.url = self.process.addresses(1)["ingest"]
        wait_for(lambda: answers(f"{self.url}/healthz"))
        token = tmon(folder, "token", "get", "basement").stdout.strip()
        self._headers = {"Authorization": f"Bearer {token}"}
        [self.writer] = children_of(self.process.popen.pid)

    def post(self, sensor: str) -> int:
        """The answer's status; 0 without an answer."""
        body = {"sensor": sensor, "value": 1}
        try:
            answer = requests.post(
                f"{self.url}/readings", json=body, headers=self._headers, timeout=60
            )
        except requests.ConnectionError:
            return 0
        return answer.status_code

    def backlog(self) -> int:
        return int(requests.get(f"{self.url}/healthz", timeout=60).json()["backlog"])


def children_of(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in children.split()]


def runs(pid: int) -> bool:
    """Whether a process is there, and hasn't merely not been waited for yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def ingest(tmp_path: Path) -> Iterator[Ingest]:
    started = Ingest(tmp_path)
    yield started
    started.process.kill()


@contextmanager
def eight_waiting(ingest: Ingest) -> Iterator[list[int]]:
    """Requests whose writer is stopped while the context lasts; their answers after."""
    statuses: list[int] = []
    with ThreadPoolExecutor(8) as pool:
        os.kill(ingest.writer, signal.SIGSTOP)
        pending = [pool.submit(ingest.post, f"s{i}") for i in range(8)]
        try:
            wait_for(lambda: ingest.backlog() == 8)
            yield statuses
        finally:
            with suppress(ProcessLookupError):
                os.kill(ingest.writer, signal.SIGCONT)
        statuses += [each.result() for each in pending]


def test_without_its_writer_ingest_ends_and_acknowledges_nothing(ingest: Ingest) -> None:
    with eight_waiting(ingest) as statuses:
        os.kill(ingest.writer, signal.SIGKILL)
        status, stderr = ingest.process.end()
    assert (status, statuses) == (1, [0] * 8)
    assert "the writing process was killed by SIGKILL" in stderr
    assert "Traceback" not in stderr


def test_a_log_index_that_is_cut_short_is_named_as_the_reason(
    ingest: Ingest, tmp_path: Path
) -> None:
    assert ingest.post("x") == 201
    os.truncate(tmp_path / "tmon.db-shm", 0)  # the writer looks into it all the time
    status, stderr = ingest.process.end()
    assert status == 1
    assert "the writing process was killed by SIGBUS (was tmon.db-shm cut short" in stderr


def test_a_writer_ends_when_ingest_was_killed(ingest: Ingest) -> None:
    assert ingest.post("x") == 201
    with eight_waiting(ingest) as statuses:
        ingest.process.popen.kill()
        ingest.process.popen.wait()
    wait_for(lambda: not runs(ingest.writer))
    assert statuses == [0] * 8
    _, stderr = ingest.process.popen.communicate(timeout=60)
    assert "Traceback" not in stderr


def test_an_idle_writer_ends_when_ingest_was_killed(ingest: Ingest) -> None:
    ingest.process.popen.kill()
    wait_for(lambda: not runs(ingest.writer))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_all_processes_stores_and_answers_what_was_taken(
    ingest: Ingest, tmp_path: Path, number: signal.Signals
) -> None:
    with eight_waiting(ingest) as statuses:
        os.killpg(ingest.process.popen.pid, number)  # as a terminal does with Ctrl-C
        wait_for(lambda: free(ingest.url))
    assert statuses == [201] * 8
    assert ingest.process.end()[0] == 0
    assert not runs(ingest.writer)
    with open_for_reading(tmp_path / "tmon.db") as db:
        assert db.table("readings").count == 8
        assert db.execute("select last_received_ms from nodes").fetchone()[0]
