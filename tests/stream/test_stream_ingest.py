"""What ingest does with the streams, and when they don't take a reading."""

import asyncio
import signal
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress

import pytest
import requests
from nats.aio.client import Client

from tests.station import wait_for
from tests.stream.streamed import Machine, Server
from tests.stream.test_sink_store import NOON_MS, reading
from tests.test_metrics import samples
from tmon.core.errors import DiskFull, Overloaded, Unavailable
from tmon.core.reading import Batch, Node, Reading, Receipt, Rejection
from tmon.db import keys
from tmon.store.insert import REJECTED_KEPT_PER_BATCH
from tmon.store.messages import Reply
from tmon.stream import publisher
from tmon.stream.batch_parts import encoded_parts
from tmon.stream.connection import ATTEMPT_S
from tmon.stream.messages import MESSAGE_BYTES, Readings, decode, partition_of, stream_name
from tmon.stream.publisher import ANSWER_S, PAUSE_S, Publisher
from tmon.stream.streams import all_states

NODE = Node("0123456789abcdef", "basement", "basement")
PARTITION = partition_of(NODE.uid)


@asynccontextmanager
async def publishing(
    machine: Machine, answer_s: float = ANSWER_S
) -> AsyncIterator[tuple[Publisher, list[Reply]]]:
    replies: list[Reply] = []
    opened = await Publisher.connect(machine.settings, replies.append, answer_s=answer_s)
    try:
        yield opened, replies
    finally:
        await opened.close()


def batch(*readings: Reading, rejected: int = 0) -> Batch:
    refused = [Rejection(index, "invalid_value", "no number") for index in range(rejected)]
    return Batch(NODE, NOON_MS, readings or [reading()], refused)


def published(machine: Machine) -> list[Readings]:
    """The messages of the node's partition."""

    async def read(client: Client) -> list[Readings]:
        state = (await all_states(client))[PARTITION]
        stream = client.jetstream()
        found = []
        for sequence in range(1, state.last + 1):
            data = (await stream.get_msg(stream_name(PARTITION), sequence)).data
            assert data is not None
            message = decode(data)
            assert isinstance(message, Readings)
            found.append(message)
        return found

    return machine.ask(read)


async def store_at_last(opened: Publisher) -> None:
    """Store a batch, again until the server takes it."""
    while True:
        try:
            await opened.store(batch())
        except Unavailable:
            continue
        return


def test_what_comes_while_a_message_is_under_way_makes_the_next(machine: Machine) -> None:
    async def run() -> list[Receipt]:
        async with publishing(machine) as (opened, replies):
            receipts = await asyncio.gather(*(opened.store(batch()) for _ in range(100)))
            assert opened.backlog == 0
            assert opened.oldest_waiting_s == 0
            assert sum(reply.readings for reply in replies) == 100
            return receipts

    assert asyncio.run(run()) == [Receipt(1, 0, [])] * 100
    messages = published(machine)
    assert len(messages) < 10
    assert sum(len(message.batches) for message in messages) == 100


def test_a_large_batch_is_split(machine: Machine) -> None:
    """Each message stays below what NATS takes; the receipt is of the whole."""
    texts = [reading(at_ms=at, sent={"value": "1", "note": "x" * 300}) for at in range(6000)]
    large = batch(*texts, rejected=3)

    async def run() -> Receipt:
        async with publishing(machine) as (opened, _):
            return await opened.store(large)

    receipt = asyncio.run(run())
    assert (receipt.accepted, len(receipt.rejected)) == (6000, 3)
    messages = published(machine)
    assert len(messages) > 1
    batches = [one for message in messages for one in message.batches]
    assert [one for part in batches for one in part.readings] == texts
    assert [len(part.rejected) for part in batches] == [3] + [0] * (len(batches) - 1)


def test_one_huge_reading_travels_without_what_was_sent() -> None:
    [(encoded, receipt)] = encoded_parts(batch(reading(sent="x" * MESSAGE_BYTES)))
    assert len(encoded) < 1000
    assert receipt.accepted == 1


def test_only_the_rejected_readings_that_are_kept_travel() -> None:
    [(encoded, receipt)] = encoded_parts(batch(rejected=REJECTED_KEPT_PER_BATCH + 50))
    assert len(receipt.rejected) == REJECTED_KEPT_PER_BATCH + 50
    assert bytes(encoded).count(b"no number") == REJECTED_KEPT_PER_BATCH


def test_a_silent_server_is_given_up_in_time(
    machine: Machine, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """It takes what it was sent once it goes on: then a second time is a duplicate."""

    async def run() -> None:
        async with publishing(machine, answer_s=0.5) as (opened, _):
            await store_at_last(opened)
            server.send(signal.SIGSTOP)
            try:
                with pytest.raises(Unavailable, match="keep the readings"):
                    await opened.store(batch(reading(2.0)))
                assert opened.backlog == 0
            finally:
                server.send(signal.SIGCONT)
            await store_at_last(opened)

    assert ANSWER_S < 5
    asyncio.run(run())
    assert "readings can't be published: no answer" in caplog.text
    assert "readings are published again" in caplog.text


def test_a_message_that_is_tried_again_is_kept_once(machine: Machine, server: Server) -> None:
    """Its acknowledgement was late, or lost."""

    async def run() -> Receipt:
        async with publishing(machine) as (opened, _):
            server.send(signal.SIGSTOP)
            stored = asyncio.create_task(opened.store(batch()))
            try:
                await asyncio.wait([stored], timeout=ATTEMPT_S + 2 * PAUSE_S)
                assert not stored.done()
            finally:
                server.send(signal.SIGCONT)
            return await stored

    assert asyncio.run(run()).accepted == 1
    assert len(published(machine)) == 1


def test_a_full_stream_is_answered_503(machine: Machine) -> None:
    """What is unread never makes room for what comes."""

    async def allow_little(client: Client) -> None:
        config = (await client.jetstream().stream_info(stream_name(PARTITION))).config
        config.max_bytes = 1000
        await client.jetstream().update_stream(config)

    async def run() -> None:
        async with publishing(machine) as (opened, _):
            for _ in range(50):
                with suppress(DiskFull):
                    await opened.store(batch())
            with pytest.raises(DiskFull, match="streams are full"):
                await opened.store(batch())

    machine.ask(allow_little)
    asyncio.run(run())


def test_who_has_left_is_not_published(machine: Machine) -> None:
    async def run() -> None:
        async with publishing(machine) as (opened, _):
            first = asyncio.create_task(opened.store(batch()))
            with pytest.raises(Overloaded):
                await opened.store(batch(reading(2.0)), lambda: True)
            await first
            assert opened.backlog == 0

    asyncio.run(run())
    assert len(published(machine)) == 1


def test_a_backlog_is_bounded(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "BACKLOG_READINGS", 10)

    async def run() -> None:
        async with publishing(machine) as (opened, _):
            first = asyncio.create_task(opened.store(batch(*[reading()] * 9)))
            await asyncio.sleep(0)
            with pytest.raises(Overloaded, match="too many"):
                await opened.store(batch(*[reading()] * 2))
            await first

    asyncio.run(run())


def test_what_is_under_way_is_answered_at_the_end(machine: Machine) -> None:
    async def run() -> Receipt:
        async with publishing(machine) as (opened, _):
            stored = asyncio.create_task(opened.store(batch()))
            await asyncio.sleep(0)
        return await stored

    assert asyncio.run(run()).accepted == 1


def test_without_a_connection_nothing_is_taken(
    machine: Machine, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "DOWN_S", 0.0)

    async def run() -> None:
        async with publishing(machine) as (opened, _):
            opened.check_capacity()
            server.stop(signal.SIGKILL)
            try:
                while opened.is_connected:
                    await asyncio.sleep(0.01)
                with suppress(Unavailable):  # from now on it counts
                    opened.check_capacity()
                with pytest.raises(Unavailable, match="no NATS server answers"):
                    opened.check_capacity()
            finally:
                server.start()

    asyncio.run(run())


def test_metrics_count_what_was_published(machine: Machine) -> None:
    with machine.ingest() as station:
        station.post([{"value": 1}, {"value": "warm"}])
        counted = samples(station.url)
    assert counted["tmon_readings_total accepted"] == 1
    assert counted["tmon_readings_total rejected"] == 1
    assert counted["tmon_commit_readings_count"] == 1


def test_what_is_refused_of_a_gateway_stands_in_rejected(machine: Machine) -> None:
    with machine.sink(), machine.ingest() as station:
        key = machine.tmon("key", "get", "--gateway", "house").stdout.strip()
        assert keys.is_key(key.encode())
        answer = requests.post(
            f"{station.url}/readings",
            headers={"Authorization": f"Bearer {key}"},
            json=[{"value": 1}],
            timeout=60,
        )
        assert answer.status_code == 400
        assert "doesn't say which device it is from" in answer.json()["error"]
        machine.wait_until_current()
        wait_for(lambda: station.count("rejected") == 1)


def test_many_senders_at_once_lose_nothing(machine: Machine) -> None:
    with machine.sink(), machine.ingest() as station, ThreadPoolExecutor(8) as pool:
        token = station.token()

        def send(number: int) -> list[int]:
            with requests.Session() as http:
                http.trust_env = False
                return [
                    http.post(
                        f"{station.url}/readings",
                        headers={"Authorization": f"Bearer {token}"},
                        json=[{"value": at, "sensor": f"s{number}", "measured_ms": NOON_MS + at}],
                        timeout=60,
                    ).status_code
                    for at in range(25)
                ]

        assert {status for statuses in pool.map(send, range(8)) for status in statuses} == {201}
        machine.wait_until_current()
        assert station.count() == 200
