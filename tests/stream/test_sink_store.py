"""What a sink stores of messages, and where it then stands."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from tmon.core.errors import Unavailable
from tmon.core.reading import Batch, Node, Reading, Receipt, Rejection
from tmon.db.connect import open_database, sqlite3, transaction
from tmon.db.open_files import OpenFiles
from tmon.store.ids import REJECTED_KEPT
from tmon.store.messages import Failure
from tmon.stream.messages import PARTITIONS, Change, Message, Readings, encode, partition_of
from tmon.stream.positions import first_positions, write_positions
from tmon.stream.sink_store import Portion, SinkStore

NOON_MS = 1_795_176_000_000
NODES = [Node(f"{number:016x}", f"node-{number}", f"node-{number}") for number in range(8)]
# What is the same in all files of a cluster.
SAME = ("nodes", "sensors", "sensor_names", "readings", "rejected", "stream_positions")

Numbered = tuple[int, int, Message]  # partition, sequence


@contextmanager
def sink_store(path: Path) -> Iterator[tuple[SinkStore, Database]]:
    """The store of a file of a cluster that began with some nodes."""
    with open_database(path, create=True, in_cluster=True) as db:
        if not db.table("stream_positions").count:
            with transaction(db):
                for node in NODES:
                    db.execute(
                        "insert into nodes (name, uid, created_ms) values (?, ?, 0)",
                        [node.name, node.uid],
                    )
                write_positions(db, first_positions("snapshot", 100, 1000, ["then"] * PARTITIONS))
        yield SinkStore(db, OpenFiles(db, path), lambda: None), db


def batch(node: Node, *readings: Reading, skew_s: float | None = None, at_ms: int = 0) -> Batch:
    return Batch(node, NOON_MS + at_ms, readings, (), skew_s)


def reading(value: float = 1.0, at_ms: int = 0, sensor: str = "x", **more: Any) -> Reading:
    return Reading(0, sensor, value, more.pop("unit", None), NOON_MS + at_ms, **more)


def portion(first: int, *messages: Message | bytes, partition: int | None = None) -> Portion:
    """Messages as they travel; their partition is that of the first batch's node."""
    if partition is None:
        partition = next(
            partition_of(one.batches[0].node.uid) for one in messages if isinstance(one, Readings)
        )
    data = [one if isinstance(one, bytes) else encode(one) for one in messages]
    return Portion(partition, first, [(NOON_MS, one) for one in data])


def contents(db: Database, *tables: str) -> dict[str, list[tuple[Any, ...]]]:
    return {
        table: sorted(db.execute(f"select * from {table}").fetchall(), key=repr)
        for table in tables or SAME
    }


def random_messages(seed: int) -> list[Numbered]:
    """Messages with all that can happen to a reading, in some order of their partitions."""
    chance = random.Random(seed)
    sequences = [0] * PARTITIONS
    messages: list[Numbered] = []
    for _ in range(chance.randrange(20, 60)):
        node = chance.choice(NODES)
        partition = partition_of(node.uid)
        peers = [one for one in NODES if partition_of(one.uid) == partition]
        batches = [
            Batch(
                chance.choice(peers),
                NOON_MS + chance.randrange(10_000),
                [
                    Reading(
                        index,
                        chance.choice(["temperature", "x"]),
                        chance.choice([20.0, 21.0, 85.0]),
                        chance.choice([None, None, None, "°C", "%"]),
                        NOON_MS + chance.randrange(30) * 1000,
                        chance.random() < 0.8,
                    )
                    for index in range(chance.randrange(4))
                ],
                [Rejection(9, "invalid_value", "no number")] * (chance.random() < 0.2),
                chance.choice([None, None, 1.5, 2.5]),
            )
            for _ in range(chance.randrange(1, 4))
        ]
        sequences[partition] += 1
        messages.append((partition, sequences[partition], Readings(batches)))
    return messages


def as_portions(messages: Sequence[Numbered]) -> list[Portion]:
    """Each partition's messages of a transaction, as the sink sends them."""
    found: dict[int, Portion] = {}
    for partition, sequence, message in messages:
        one = found.setdefault(partition, Portion(partition, sequence, []))
        assert isinstance(one.messages, list)
        one.messages.append((NOON_MS, encode(message)))
    return [*found.values()]


@pytest.mark.parametrize("seed", range(25))
def test_files_are_the_same_however_messages_come_together(tmp_path: Path, seed: int) -> None:
    """One sink gets each message alone; the other many at once, and some of them twice."""
    messages = random_messages(seed)
    chance = random.Random(seed)
    with sink_store(tmp_path / "a.db") as (one, db), sink_store(tmp_path / "b.db") as (many, other):
        for message in messages:
            one.commit(as_portions([message]))
        start = 0
        while start < len(messages):
            end = start + chance.randrange(1, 20)
            many.commit(as_portions(messages[start:end]))
            if chance.random() < 0.3:
                many.flush_last_seen()
            start = max(start + 1, end - chance.randrange(5))  # some come again
        for store in (one, many):
            store.flush_last_seen()
        assert contents(db) == contents(other)
        assert db.table("readings").count
        assert db.table("rejected").count


def test_ids_leave_room_for_the_other_partitions(tmp_path: Path) -> None:
    first, second = NODES[0], NODES[1]
    partition, other = partition_of(first.uid), partition_of(second.uid)
    with sink_store(tmp_path / "tmon.db") as (store, db):
        readings = [reading(sensor="a"), reading(sensor="b")]
        store.commit([portion(1, Readings([batch(first, *readings)]))])
        store.commit([portion(1, Readings([batch(second, *readings)]))])
        store.commit([portion(2, Readings([batch(first, reading(2.0, sensor="a"))] * 2))])
        assert dict(db.execute("select id, node from sensors").fetchall()) == {
            101 + partition: first.name,
            101 + partition + PARTITIONS: first.name,
            101 + other: second.name,
            101 + other + PARTITIONS: second.name,
        }
        ids = [id_ for (id_,) in db.execute("select id from rejected order by id").fetchall()]
        assert ids == [1001 + partition, 1001 + partition + PARTITIONS]


def test_each_partition_keeps_as_many_refused_readings(tmp_path: Path) -> None:
    node = NODES[0]
    partition = partition_of(node.uid)
    refused = [Rejection(index, "invalid_value", "no number") for index in range(100)]
    each = REJECTED_KEPT // PARTITIONS
    messages = [Readings([Batch(node, NOON_MS, (), refused)] * 10) for _ in range(each // 1000 + 2)]
    with sink_store(tmp_path / "tmon.db") as (store, db):
        with transaction(db):
            db.execute(
                "insert into rejected (id, received_ms, node, code, reason)"
                " values (?, 0, '', '', ''), (?, 0, '', '', '')",
                [1000 - partition, 1001 + partition - PARTITIONS],
            )
        store.commit([portion(1, *messages)])
        kept = [id_ for (id_,) in db.execute("select id from rejected order by id").fetchall()]
    assert len(kept) == each + (partition != (1000 - partition - 1001) % PARTITIONS)
    assert kept[-1] == 1001 + partition + PARTITIONS * (1000 * len(messages) - 1)
    assert kept[-each] == kept[-1] - PARTITIONS * (each - 1)


def test_what_failed_is_stored_when_it_comes_again(tmp_path: Path) -> None:
    """Readings, sensors, ids and the position are of one transaction."""
    many = [reading(at_ms=at) for at in range(1000)]
    message = portion(1, Readings([batch(NODES[0], *many)]))
    with sink_store(tmp_path / "tmon.db") as (store, db):
        before = contents(db)
        pages = db.execute("pragma page_count").fetchone()[0]
        db.execute(f"pragma max_page_count = {pages}")
        with pytest.raises(sqlite3.OperationalError, match="full"):
            store.commit([message])
        assert contents(db) == before
        db.execute("pragma max_page_count = 1000000")
        store.commit([message])
        assert db.table("readings").count == 1000


def test_a_gap_between_messages_is_never_stored(tmp_path: Path) -> None:
    with sink_store(tmp_path / "tmon.db") as (store, db):
        with pytest.raises(ValueError, match="message 2 of partition"):
            store.commit([portion(2, Readings([batch(NODES[0], reading())]))])
        assert db.table("readings").count == 0


def test_a_batch_that_cant_be_stored_stands_in_rejected(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The others of its message and of its portion are stored, and it is logged."""
    partition = partition_of(NODES[0].uid)
    nobody = next(
        uid for uid in map("no-such-uid-{}".format, range(999)) if partition_of(uid) == partition
    )
    bad = Batch(Node(nobody, "nobody", "nobody"), NOON_MS, [reading(2.0)])
    messages = [
        Readings([batch(NODES[0], reading(1.0))]),
        Readings([batch(NODES[0], reading(3.0, 3)), bad, batch(NODES[0], reading(4.0, 4))]),
        Readings([batch(NODES[0], reading(5.0, 5))]),
    ]
    sent = portion(1, *messages)
    with sink_store(tmp_path / "tmon.db") as (store, db):
        with pytest.raises(LookupError) as caught:
            store.commit([sent])
        assert isinstance(store.set_aside(sent, caught.value), Receipt)
        stored = [value for (value,) in db.execute("select value from readings order by value")]
        assert stored == [1.0, 3.0, 4.0, 5.0]
        [rejected] = db.query("select * from rejected")
        assert (rejected["node"], rejected["code"]) == ("nobody", "not_stored")
        assert (rejected["sensor"], rejected["value"]) == ("x", "2.0")
        assert "no node has the uid" in rejected["reason"]
        assert store.positions.all[partition].sequence == 3
    assert "can't be stored whole" in caplog.text


def test_a_message_that_cant_be_read_stands_in_rejected(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = Readings([batch(NODES[0], reading())])
    partition = partition_of(NODES[0].uid)
    with sink_store(tmp_path / "tmon.db") as (store, db):
        store.commit([portion(1, b"\x01nonsense", good, partition=partition)])
        assert db.table("readings").count == 1
        [rejected] = db.query("select * from rejected")
        assert rejected["code"] == "not_stored"
        assert rejected["received_ms"] == NOON_MS
    assert f"message 1 of partition {partition}" in caplog.text


def test_a_full_disk_leaves_what_was_set_aside_for_later(tmp_path: Path) -> None:
    node = Node("no-such-uid", "nobody", "nobody")
    sent = portion(1, Readings([Batch(node, NOON_MS, [reading()])]))
    with sink_store(tmp_path / "tmon.db") as (store, db):
        db.execute("pragma query_only = 1")
        failure = store.set_aside(sent, LookupError())
        assert isinstance(failure, Failure)
        assert failure.code == Unavailable.code
        assert store.positions.all[sent.partition].sequence == 0


def test_a_change_is_stored_with_its_position(tmp_path: Path) -> None:
    """Messages before it see the file without it, and those after it with it."""
    node = NODES[0]
    partition = partition_of(node.uid)
    rename = Change(
        7,
        {},
        [
            ("update nodes set name = :new where uid = :uid", {"new": "attic", "uid": node.uid}),
            ("update sensors set title = ? where name = ?", ["Roof", "x"]),
        ],
    )
    readings = [Readings([batch(node, reading(sensor=name))]) for name in "xy"]
    with sink_store(tmp_path / "tmon.db") as (store, db):
        store.commit([portion(1, readings[0], rename, readings[1])])
        sensors = db.execute("select node, name, title from sensors order by id").fetchall()
        assert sensors == [("attic", "x", "Roof"), ("attic", "y", None)]
        position = store.positions.all[partition]
        assert (position.sequence, position.change) == (3, 7)


def test_a_change_that_fails_is_undone_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    change = Change(
        3,
        {},
        [
            ("update nodes set description = 'half' where name = ?", ["node-0"]),
            ("insert into nodes (name, uid) values (?, ?)", ["node-1", "x"]),  # it exists
        ],
    )
    with sink_store(tmp_path / "tmon.db") as (store, db):
        store.commit([portion(1, change, partition=0)])
        described = db.execute("select count(description) from nodes").fetchone()[0]
        assert described == 0
        [rejected] = db.query("select code, reason from rejected")
        assert rejected["code"] == "not_stored"
        assert "change 3 can't be stored" in rejected["reason"]
        assert store.positions.all[0].change == 3
    assert "change 3" in caplog.text


def test_what_was_heard_before_a_kill_is_read_again(tmp_path: Path) -> None:
    """When a node was last heard is written once a minute, with the position up to which."""
    node = NODES[0]
    partition = partition_of(node.uid)
    messages = [
        Readings([batch(node, reading(at_ms=at), at_ms=at, skew_s=skew)])
        for at, skew in ((1, 2.0), (2, None), (3, None))
    ]
    path = tmp_path / "tmon.db"
    last_seen = "select last_received_ms, clock_skew_s from nodes where uid = ?"
    with sink_store(path) as (store, db):
        store.commit([portion(1, *messages[:2])])  # and is killed before it writes that
        assert db.execute(last_seen, [node.uid]).fetchone() == (None, None)
    with sink_store(path) as (store, db):
        again = store.positions.all[partition].last_seen_sequence + 1
        store.commit([portion(again, *messages)])
        store.flush_last_seen()
        assert db.execute(last_seen, [node.uid]).fetchone() == (NOON_MS + 3, 2.0)
        assert db.table("readings").count == 3
        assert store.positions.all[partition].last_seen_sequence == 3


def test_nothing_is_written_while_nothing_is_heard(tmp_path: Path) -> None:
    with sink_store(tmp_path / "tmon.db") as (store, db):
        before = db.execute("select total_changes()").fetchone()
        store.flush_last_seen()
        assert db.execute("select total_changes()").fetchone() == before


def test_many_messages_with_one_duplicate_are_stored(tmp_path: Path) -> None:
    node = NODES[0]
    messages = [Readings([batch(node, reading(at_ms=at))]) for at in (*range(300), 7)]
    with sink_store(tmp_path / "tmon.db") as (store, db):
        store.commit([portion(1, *messages)])
        assert db.table("readings").count == 300
        assert db.table("rejected").count == 0
