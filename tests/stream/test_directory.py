"""Ingest's nodes and keys are those of the bucket, at once; and stay while NATS is away."""

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from tests.stream.streamed import Machine, Server, delete_streams
from tmon.db import keys, nodes
from tmon.db.connect import open_database, open_for_reading, transaction
from tmon.stream.bucket import BUCKET_SUBJECT
from tmon.stream.change_log import CHANGE, LastChange
from tmon.stream.connection import CannotConnect
from tmon.stream.directory import Directory
from tmon.stream.entries import (
    Entry,
    KeyRow,
    NodeRow,
    UnreadableValue,
    decode_value,
    encode_value,
)
from tmon.stream.feed import Feed
from tmon.stream.first_file import AT_ONCE, put_together
from tmon.stream.streams import BUCKET_STREAM

HEARTBEAT_S = 0.1


@pytest.fixture
def machine(tmp_path: Path, own_server: Server) -> Machine:
    made = Machine(tmp_path / "a", own_server.url)
    for node in ("attic", "cellar"):
        made.make_node(node)
    return made


@asynccontextmanager
async def directory_of(machine: Machine) -> AsyncIterator[Directory]:
    directory = Directory(HEARTBEAT_S, patience_s=0.1)
    await directory.start(machine.settings)
    try:
        yield directory
    finally:
        await directory.close()
        directory.db.close()


def entry(uid: str, name: str, change: int = 1, **more: Any) -> Entry:
    node = NodeRow(uid, name, more.pop("generation", 1), None, None)
    return Entry(f"node.{uid}", change, node, more.pop("former", ()), more.pop("key", None))


def names(directory: Directory) -> dict[str, str]:
    return dict(directory.db.execute("select uid, name from nodes").fetchall())


def put(machine: Machine, *entries: Entry | LastChange) -> None:
    async def publish(client: Client) -> None:
        for one in entries:
            name = one.name if isinstance(one, Entry) else CHANGE
            await client.jetstream().publish(BUCKET_SUBJECT + name, encode_value(one))

    machine.ask(publish)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


def test_it_knows_all_of_the_first_file(machine: Machine) -> None:
    with_key = machine.tmon_alone("key", "get", "attic").stdout.strip()
    machine.tmon_alone("key", "get", "--gateway", "house")
    machine.tmon_alone("node", "rename", "cellar", "basement")
    machine.tmon_alone("node", "set", "attic", "--timezone", "Europe/Berlin")
    machine.create_streams()

    async def run() -> None:
        async with directory_of(machine) as directory:
            with open_for_reading(machine.path) as db:
                for name in ("attic", "basement"):
                    known = nodes.find(db, name)
                    assert nodes.find(directory.db, name) == known
                    assert nodes.as_sender(directory.db, known, name) == nodes.as_sender(
                        db, known, name
                    )
                    assert nodes.find_by_uid(directory.db, known.uid) == known
                key = keys.find(db, "attic")
                assert keys.find_by_id(directory.db, with_key[: keys.ID_DIGITS]) == key
                gateway = keys.find(db, "house", is_gateway=True)
                assert keys.find_by_id(directory.db, gateway.id) == gateway
            assert not nodes.exists(directory.db, "cellar")

    asyncio.run(run())


def test_two_nodes_may_swap_their_names(machine: Machine) -> None:
    machine.create_streams()
    put(machine, entry("x", "one"), entry("y", "two"))

    async def run() -> None:
        async with directory_of(machine) as directory:
            for one in (entry("x", "two", 2), entry("y", "one", 3)):
                await asyncio.to_thread(put, machine, one)
            await until(lambda: names(directory)["y"] == "one")
            assert names(directory)["x"] == "two"

    asyncio.run(run())


def test_a_change_counts_before_its_entries_are_in_the_bucket(machine: Machine) -> None:
    """Its command may be killed when it has made it, and nothing else."""
    machine.create_streams()
    made = LastChange(1, "its author", entries=(entry("x", "made"),), published=False, holder="it")
    put(machine, made)

    async def run() -> None:
        async with directory_of(machine) as directory:
            assert names(directory)["x"] == "made"

    asyncio.run(run())


def test_a_later_state_replaces_all_of_an_earlier_one(machine: Machine) -> None:
    machine.create_streams()
    key = KeyRow("0123456789ab", "x", None, 0, 0, 1, None)

    async def run() -> None:
        async with directory_of(machine) as directory:
            directory.apply([(100, entry("x", "a", former=("b", "c"), key=key))])
            assert nodes.former_names(directory.db, "x") == ("b", "c")
            assert keys.find_by_id(directory.db, key.id) is not None
            directory.apply([(101, entry("x", "a", 2, former=("b",))), (102, entry("x", "d", 3))])
            assert nodes.former_names(directory.db, "x") == ()
            assert keys.find_by_id(directory.db, key.id) is None
            assert names(directory)["x"] == "d"

    asyncio.run(run())


def test_an_older_state_from_another_server_counts_for_nothing(machine: Machine) -> None:
    """Nor does it after a later one that couldn't be read: that may have been a revocation."""
    machine.create_streams()

    async def run() -> None:
        async with directory_of(machine) as directory:
            for revision, name in ((102, "new"), (101, "old")):
                directory.apply([(revision, entry("x", name))])
            assert names(directory)["x"] == "new"
            directory.forget("node.x", 103)
            directory.apply([(102, entry("x", "new"))])
            assert "x" not in names(directory)
            directory.apply([(104, entry("x", "newest"))])
            assert names(directory)["x"] == "newest"

    asyncio.run(run())


def test_it_goes_on_when_nats_was_away(machine: Machine, own_server: Server) -> None:
    machine.create_streams()

    async def run() -> None:
        async with directory_of(machine) as directory:
            known = names(directory)
            own_server.stop(signal.SIGKILL)
            await asyncio.sleep(0)
            assert names(directory) == known
            own_server.start()
            await asyncio.to_thread(put, machine, entry("x", "new"))
            await until(lambda: names(directory) == {**known, "x": "new"})

    asyncio.run(run())


def test_it_goes_on_when_nats_has_forgotten_it(machine: Machine) -> None:
    machine.create_streams()

    async def forget(client: Client) -> None:
        js = client.jetstream()
        for consumer in await js.consumers_info(BUCKET_STREAM):
            await js.delete_consumer(BUCKET_STREAM, consumer.name)

    async def run() -> None:
        async with directory_of(machine) as directory:
            await asyncio.to_thread(machine.ask, forget)
            await asyncio.to_thread(put, machine, entry("x", "new"))
            await until(lambda: names(directory).get("x") == "new")

    asyncio.run(run())


def test_a_bucket_that_was_made_anew_is_read_anew(machine: Machine, own_server: Server) -> None:
    machine.create_streams()
    put(machine, *(entry("x", f"{number}") for number in range(100)))

    async def run() -> None:
        async with directory_of(machine) as directory:
            await asyncio.to_thread(delete_streams, own_server.url)
            other = Machine(machine.folder.with_name("b"), own_server.url)
            other.make_node("other")
            other.create_streams()
            await until(lambda: "other" in names(directory).values())
            assert len(names(directory)) == 1

    asyncio.run(run())


def test_it_ends_though_a_cancellation_is_swallowed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.create_streams()
    follow, swallowed = Feed.follow, []

    async def stubborn(feed: Feed) -> None:
        try:
            await follow(feed)
        except asyncio.CancelledError:
            if feed in swallowed:
                raise
            swallowed.append(feed)

    async def run() -> None:
        async with directory_of(machine):
            pass

    monkeypatch.setattr(Feed, "follow", stubborn)
    asyncio.run(run())
    assert len(swallowed) == 2


def test_what_cant_be_read_in_the_bucket_harms_nobody_elses_token(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    machine.create_streams()

    async def run() -> None:
        async with directory_of(machine) as directory:
            known = names(directory)
            for name in ("node.abc", "node.def", CHANGE):
                await directory._client.jetstream().publish(BUCKET_SUBJECT + name, b"rubbish")
            await until(lambda: caplog.text.count("can't be read on any server") == 3)
            later = encode_value(entry("ffff", "shed"))
            await directory._client.jetstream().publish(f"{BUCKET_SUBJECT}node.ffff", later)
            await until(lambda: names(directory) == {**known, "ffff": "shed"})

    asyncio.run(run())


def test_no_flipped_bit_makes_another_entry() -> None:
    """Such as one without the revocation, or with an older token generation."""
    whole = encode_value(entry("x", "attic", 7, generation=2))
    for at, bit in itertools.product(range(len(whole)), range(8)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << bit
        with pytest.raises(UnreadableValue):
            decode_value(bytes(damaged), Entry)


def test_a_node_whose_entry_is_damaged_is_refused_until_it_is_whole(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    """What is known may be older than a revocation."""
    machine.create_streams()
    key = KeyRow("0123456789ab", "x", None, 0, 0, 1, None)
    put(machine, entry("x", "shed", former=("hut",), key=key))
    damaged = bytearray(encode_value(entry("x", "shed", 2, generation=2, key=key)))
    damaged[-3] ^= 1

    async def run() -> None:
        async with directory_of(machine) as directory:
            others = {uid: name for uid, name in names(directory).items() if uid != "x"}
            await directory._client.jetstream().publish(f"{BUCKET_SUBJECT}node.x", bytes(damaged))
            await until(lambda: names(directory) == others)
            assert keys.find_by_id(directory.db, key.id) is None
            assert nodes.former_names(directory.db, "x") == ()
            await asyncio.to_thread(put, machine, entry("x", "shed", 3, generation=2, key=key))
            await until(lambda: names(directory) == {**others, "x": "shed"})
            assert keys.find_by_id(directory.db, key.id) is not None

    asyncio.run(run())
    assert "node.x: the bucket's value can't be read, asking again: it is damaged" in caplog.text
    assert "can't be read on any server (it is damaged)" in caplog.text


def test_a_value_that_the_server_has_lost_is_told_and_blocks_nobody(
    machine: Machine, own_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """The server leaves out what it finds damaged in its file."""
    machine.create_streams()
    own_server.stop()
    [block] = (own_server.folder / "store").rglob(f"{BUCKET_STREAM}/**/*.blk")
    block.write_bytes(block.read_bytes().replace(b"attic", b"attiC"))
    own_server.start()

    async def count(client: Client) -> int:
        return (await client.jetstream().stream_info(BUCKET_STREAM)).state.messages

    known = machine.ask(count)

    async def run() -> None:
        async with directory_of(machine) as directory:
            assert [*names(directory).values()] == ["cellar"]
            await asyncio.to_thread(put, machine, entry("x", "new"))
            await until(lambda: names(directory).get("x") == "new")

    asyncio.run(run())
    told = "1 value of the bucket can't be read on any server" in caplog.text
    assert told or known == 2  # a server that reads its file anew forgets it


def test_the_nodes_of_a_large_file_are_put_into_the_bucket(machine: Machine) -> None:
    count = 2 * AT_ONCE + 1
    with open_database(machine.path) as db, transaction(db):
        db.conn.executemany(
            "insert into nodes (name, uid, created_ms) values (?, ?, 1)",
            ((f"n{number}", f"{number:016x}") for number in range(count)),
        )
    machine.create_streams()

    async def run() -> None:
        async with directory_of(machine) as directory:
            assert len(names(directory)) == count + 2

    asyncio.run(run())


def test_a_bucket_that_takes_only_single_values_is_told(machine: Machine) -> None:
    async def fill(client: Client) -> None:
        stream = client.jetstream()
        await stream.add_stream(name="other", subjects=[f"{BUCKET_SUBJECT}>"])
        await put_together(client, [entry("x", "one"), entry("y", "two")])

    with pytest.raises(CannotConnect, match="atomic publish is disabled"):
        machine.ask(fill)


def test_a_uid_with_a_colon_has_an_entry(machine: Machine) -> None:
    """A file of another program may have one; NATS allows none in a key."""
    with open_database(machine.path) as db, transaction(db):
        db.execute("insert into nodes (name, uid, created_ms) values ('odd', 'a:b', 1)")
    machine.create_streams()

    async def run() -> None:
        async with directory_of(machine) as directory:
            assert names(directory)["a:b"] == "odd"

    asyncio.run(run())
