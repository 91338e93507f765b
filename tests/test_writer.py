"""Group commit: what is shared, what fails alone, and what heals by itself."""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ingest import nodes, writer
from ingest.errors import DiskFull, Locked, Overloaded, Unavailable
from ingest.reading import Batch, Node, Reading, Receipt
from ingest.schema import BUSY_TIMEOUT_S, open_database
from ingest.store import Store
from ingest.writer import Writer
from tests.station import Station, wait_for

NOON_MS = 1_795_176_000_000


def node_in(path: Path, name: str = "basement") -> Node:
    with open_database(path, create=True) as db:
        known = nodes.find_or_make(db, name)
    return Node(known.uid, known.name, known.name)


def batch(node: Node, *values: float, sensor: str = "x", at_ms: int = NOON_MS) -> Batch:
    readings = [Reading(i, sensor, value, None, at_ms + i) for i, value in enumerate(values)]
    return Batch(node, NOON_MS, readings)


def test_requests_that_come_together_share_commits(tmp_path: Path) -> None:
    node = node_in(tmp_path / "tmon.db")
    sizes: list[int] = []

    class Counting(Store):
        def commit(self, batches: Sequence[Batch]) -> list[Receipt]:
            sizes.append(len(batches))
            time.sleep(0.05)  # a slow disk
            return super().commit(batches)

    async def run() -> list[Receipt]:
        write = Writer(Counting(open_database(tmp_path / "tmon.db")))
        each = [write.store(batch(node, 1.0, sensor=f"s{i}")) for i in range(100)]
        receipts = await asyncio.gather(*each)
        await write.close()
        return receipts

    receipts = asyncio.run(run())
    assert [receipt.accepted for receipt in receipts] == [1] * 100
    assert sum(sizes) == 100
    assert len(sizes) <= 3


def test_one_bad_batch_never_fails_its_neighbours(tmp_path: Path) -> None:
    node = node_in(tmp_path / "tmon.db")
    nobody = Node("no-such-uid", "nobody", "nobody")  # breaks a foreign key, deep in the commit

    async def run() -> list[Receipt | BaseException]:
        write = Writer(Store(open_database(tmp_path / "tmon.db")))
        batches = [batch(node, 1.0, sensor="a"), batch(nobody, 2.0), batch(node, 3.0, sensor="b")]
        results = await asyncio.gather(*map(write.store, batches), return_exceptions=True)
        await write.close()
        return results

    first, bad, last = asyncio.run(run())
    assert isinstance(bad, Unavailable)
    assert isinstance(first, Receipt)
    assert isinstance(last, Receipt)
    assert (first.accepted, last.accepted) == (1, 1)


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


def test_a_full_backlog_is_refused_and_nothing_of_it_stored(
    tmp_path: Path,
) -> None:
    node = node_in(tmp_path / "tmon.db")
    full = batch(node, *[1.0] * writer.BACKLOG_READINGS)

    async def run() -> None:
        write = Writer(Store(open_database(tmp_path / "tmon.db")))
        taken = asyncio.create_task(write.store(full))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await write.store(batch(node, 1.0, sensor="late"))
        assert (await taken).accepted == writer.BACKLOG_READINGS
        assert write.backlog == 0
        assert (await write.store(batch(node, 1.0, sensor="later"))).accepted == 1
        await write.close()

    asyncio.run(run())
    with open_database(tmp_path / "tmon.db") as db:
        assert not list(db.table("sensors").rows_where("name = 'late'"))


def test_a_full_disk_is_503_and_heals_by_itself(tmp_path: Path) -> None:
    node = node_in(tmp_path / "tmon.db")
    db = open_database(tmp_path / "tmon.db")

    def pages(limit: int) -> None:
        db.execute(f"pragma max_page_count = {limit}")  # what SQLite says then is: disk is full

    async def run() -> None:
        write = Writer(Store(db))
        assert (await write.store(batch(node, 1.0))).accepted == 1
        pages(1)
        with pytest.raises(DiskFull):
            await write.store(batch(node, *map(float, range(5000)), sensor="large"))
        pages(1_000_000)
        receipt = await write.store(batch(node, *map(float, range(5000)), sensor="large"))
        assert receipt.accepted == 5000
        await write.close()

    asyncio.run(run())


def test_a_locked_database_is_503_and_heals_by_itself(station: Station) -> None:
    station.post({"value": 1})
    with open_database(station.path) as other:
        other.execute("begin immediate")
        answer = station.post({"value": 2})
        assert (answer.status_code, answer.json()["code"]) == (503, "locked")
        assert int(answer.headers["Retry-After"]) > 0
        healthy = station.http.get(f"{station.url}/healthz", timeout=1)
        assert healthy.status_code == 200
        other.execute("rollback")
    assert station.post({"value": 2}).status_code == 201
    assert station.query("select value from readings order by measured_ms") == [(1.0,), (2.0,)]


def test_who_waits_for_the_same_lock_is_answered_with_the_first(tmp_path: Path) -> None:
    node = node_in(tmp_path / "tmon.db")

    async def run() -> float:
        write = Writer(Store(open_database(tmp_path / "tmon.db")))
        with open_database(tmp_path / "tmon.db") as other:
            other.execute("begin immediate")
            begun = time.monotonic()
            many = [batch(node, *[1.0] * 6000, sensor=f"s{i}") for i in range(8)]
            results = await asyncio.gather(*map(write.store, many), return_exceptions=True)
            took_s = time.monotonic() - begun
            assert [type(result) for result in results] == [Locked] * 8
        await write.close()
        return took_s

    assert asyncio.run(run()) < 2 * BUSY_TIMEOUT_S


def test_trouble_with_the_small_things_doesnt_stop_the_writer(tmp_path: Path) -> None:
    node = node_in(tmp_path / "tmon.db")
    with open_database(tmp_path / "tmon.db") as db:
        db.execute("create trigger no before update on nodes begin select raise(abort, 'no'); end")

    async def run() -> None:
        write = Writer(Store(open_database(tmp_path / "tmon.db")))
        await write.store(batch(node, 1.0))
        await write.close()  # writes down who was heard, which fails

    asyncio.run(run())
    with open_database(tmp_path / "tmon.db") as db:
        assert db.table("readings").count == 1


def test_another_writers_changes_to_sensors_are_seen_within_a_second(station: Station) -> None:
    percent = {"sensor": "co2", "value": 40, "unit": "%"}
    station.post({"sensor": "co2", "value": 400, "unit": "ppm"})
    assert station.post(percent).json()["rejected"][0]["code"] == "unit_mismatch"
    with open_database(station.path) as other:
        other.execute("update sensors set unit = '%'")
    wait_for(lambda: station.post(percent).json()["accepted"] == 1, seconds=1)


def test_a_sensor_whose_transaction_failed_is_made_again(tmp_path: Path) -> None:
    node = node_in(tmp_path / "tmon.db")
    with open_database(tmp_path / "tmon.db") as db:
        store = Store(db)
        nobody = Node("no-such-uid", "nobody", "nobody")
        with pytest.raises(Exception, match="FOREIGN KEY"):
            store.commit([batch(node, 1.0), batch(nobody, 1.0)])
        [receipt] = store.commit([batch(node, 1.0)])
        assert receipt.accepted == 1


def test_many_connections_at_once_lose_and_double_nothing(station: Station) -> None:
    def send(sender: int) -> int:
        told = 0
        for i in range(20):
            body = [{"sensor": f"s{i}", "value": sender, "measured_ms": NOON_MS - sender * 60_000}]
            told += station.post(body, node=f"n{sender % 4}").json()["accepted"]
        return told

    with ThreadPoolExecutor(16) as pool:
        accepted = sum(pool.map(send, range(16)))
    assert accepted == 16 * 20 == station.count()
    wait_for(lambda: station.http.get(f"{station.url}/healthz", timeout=5).json()["backlog"] == 0)
