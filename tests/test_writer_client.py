"""What goes from the process that takes readings to the one that writes them, and back."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.writer_client import (
    MAX_WAIT_S,
    MESSAGE_BATCHES,
    SMALL_READINGS,
    WINDOW_READINGS,
    CommitRate,
    WriterClient,
)
from tmon.core.errors import ApiError, DiskFull, Locked, Overloaded, Unavailable
from tmon.core.reading import Batch, Node, Reading, Receipt, Rejection
from tmon.store.messages import (
    LENGTH_BYTES,
    Failure,
    MessageReader,
    Reply,
    batch_reader,
    encode_batch,
    encode_message,
)

NODE = Node("uid", "basement", "cellar")
NOON_MS = 1_795_176_000_000

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
MAYBE_TEXTS = st.none() | TEXTS
REJECTIONS = st.builds(
    Rejection, st.integers(0, 10_000), TEXTS, TEXTS, MAYBE_TEXTS, MAYBE_TEXTS, MAYBE_TEXTS
)
READINGS = st.builds(
    Reading,
    st.integers(0, 10_000),
    TEXTS,
    st.floats(allow_nan=False, allow_infinity=False),
    MAYBE_TEXTS,
    st.integers(-(2**63), 2**63 - 1),
    st.booleans(),
)
BATCHES = st.builds(
    Batch,
    st.just(NODE),
    st.integers(0, 2**53),
    st.lists(READINGS, max_size=4),
    st.lists(REJECTIONS, max_size=2),
    st.none() | st.floats(-1e9, 1e9),
)
RECEIPTS = st.builds(Receipt, st.integers(0, 10), st.integers(0, 10), st.lists(REJECTIONS))
FAILURES = st.builds(Failure, TEXTS, TEXTS)
NUMBERS = st.integers(1, 2**63 - 1)
REPLIES = st.builds(
    Reply, st.lists(st.tuples(NUMBERS, RECEIPTS | FAILURES), max_size=5), st.booleans()
)


def cut(data: bytes, at: list[int]) -> list[bytes]:
    ends = [*sorted(each % len(data) for each in at), len(data)] if data else []
    return [data[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


CUTS = st.lists(st.integers(0, 2**20), max_size=20)


@given(st.lists(st.lists(st.tuples(NUMBERS, BATCHES), max_size=3), max_size=4), CUTS)
def test_batches_split_anywhere_are_read_whole(
    sent: list[list[tuple[int, Batch]]], at: list[int]
) -> None:
    reader = batch_reader()
    encoded = (
        encode_message([(number, encode_batch(batch)) for number, batch in message])
        for message in sent
    )
    pieces = cut(b"".join(encoded), at)
    received = [message for piece in pieces for message in reader.feed(piece)]
    assert [[(number, as_tuple(batch)) for number, batch in message] for message in received] == [
        [(number, as_tuple(batch)) for number, batch in message] for message in sent
    ]


@given(st.lists(REPLIES, max_size=5), CUTS)
def test_replies_split_anywhere_are_read_whole(sent: list[Reply], at: list[int]) -> None:
    reader = MessageReader(Reply)
    pieces = cut(b"".join(map(encode_message, sent)), at)
    received = [message for piece in pieces for message in reader.feed(piece)]
    assert [*map(encode_message, received)] == [*map(encode_message, sent)]
    assert [*map(type, received)] == [Reply] * len(sent)


def as_tuple(batch: Batch) -> tuple[object, ...]:
    """A batch's fields; lists and tuples are the same in a message."""
    return (batch.node, batch.received_ms, [*batch.readings], [*batch.rejected], batch.clock_skew_s)


def test_a_message_sent_byte_by_byte_is_read_at_its_last_byte() -> None:
    reader = MessageReader(Reply)
    sent = encode_message(Reply([(1, Receipt(1, 0, ()))]))
    assert len(sent) == LENGTH_BYTES + int.from_bytes(sent[:LENGTH_BYTES], "big")
    for i in range(len(sent) - 1):
        assert not [*reader.feed(sent[i : i + 1])]
    [reply] = reader.feed(sent[-1:])
    assert [type(result) for _, result in reply.results] == [Receipt]


class FakeWriter:
    """The other end of the socket: takes batches, and answers when and what it is told to."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sock.setblocking(False)
        self._reader = batch_reader()
        self._answered = 0
        self.rounds: list[list[Batch]] = []

    async def take(self, count: int) -> list[Batch]:
        """So many batches, or more."""
        while len(self.taken) < count:
            data = await asyncio.get_running_loop().sock_recv(self._sock, 1 << 20)
            for batches in self._reader.feed(data):
                self.rounds.append([batch for _, batch in batches])
        return self.taken

    @property
    def taken(self) -> list[Batch]:
        return [batch for batches in self.rounds for batch in batches]

    async def answer(self, *results: Receipt | Failure, others_wrote: bool = False) -> None:
        """Answer the next batches."""
        numbered = [*enumerate(results, self._answered + 1)]
        self._answered += len(results)
        await self.send(encode_message(Reply(numbered, others_wrote)))

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._sock, data)


class Clock:
    """Seconds, as the test says."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@asynccontextmanager
async def connected_client(
    on_reply: Callable[[Reply], object] = lambda _: None, clock: Callable[[], float] = monotonic
) -> AsyncIterator[tuple[WriterClient, FakeWriter]]:
    ours, theirs = socket.socketpair()
    with theirs:
        client = await WriterClient.connect(ours, on_reply, clock)
        yield client, FakeWriter(theirs)
        closing = asyncio.create_task(client.close())
        await asyncio.sleep(0)
        theirs.close()
        await closing


def batch(number: int, size: int = 1) -> Batch:
    readings = [Reading(i, f"s{number}", float(number), None, NOON_MS + i) for i in range(size)]
    return Batch(NODE, NOON_MS, readings)


def test_receipts_reach_their_senders_in_order() -> None:
    async def run() -> list[Receipt]:
        async with connected_client() as (client, writer):
            sent = [asyncio.create_task(client.store(batch(i, size=i))) for i in range(40)]
            taken = await writer.take(40)
            assert [one.size for one in taken] == [*range(40)]
            for begin, end in [(0, 1), (1, 30), (30, 40)]:
                await writer.answer(*(Receipt(i, 0, ()) for i in range(begin, end)))
            return await asyncio.gather(*sent)

    assert [receipt.accepted for receipt in asyncio.run(run())] == [*range(40)]


def test_batches_of_one_loop_round_are_one_message() -> None:
    async def run() -> list[int]:
        async with connected_client() as (client, writer):
            count = 2 * MESSAGE_BATCHES + 4
            sent = [asyncio.create_task(client.store(batch(i))) for i in range(count)]
            await writer.take(count)
            await writer.answer(*[Receipt(1, 0, ())] * count)
            await asyncio.gather(*sent)
            return [len(batches) for batches in writer.rounds]

    assert asyncio.run(run()) == [MESSAGE_BATCHES, MESSAGE_BATCHES, 4]


def test_a_sender_that_is_cancelled_doesnt_disturb_the_others() -> None:
    async def run() -> tuple[list[Receipt], int]:
        async with connected_client() as (client, writer):
            sent = [asyncio.create_task(client.store(batch(i))) for i in range(5)]
            await writer.take(5)
            sent[0].cancel()
            sent[3].cancel()
            await asyncio.sleep(0)
            assert client.backlog == 5  # they are stored all the same
            await writer.answer(*(Receipt(0, i, [refused] * (1 - i)) for i in (0, 1, 1, 0, 0)))
            receipts = [await sent[i] for i in (1, 2, 4)]
            assert sent[0].cancelled()
            assert sent[3].cancelled()
            return receipts, client.backlog

    refused = Rejection(0, "conflict", "")
    receipts, backlog = asyncio.run(run())
    assert [receipt.duplicates for receipt in receipts] == [1, 1, 0]
    assert backlog == 0


@pytest.mark.parametrize("kind", [Unavailable, Locked, DiskFull])
def test_a_failure_is_its_own_error_at_the_sender_and_only_there(kind: type[ApiError]) -> None:
    async def run() -> list[Receipt | BaseException]:
        async with connected_client() as (client, writer):
            sent = [asyncio.create_task(client.store(batch(i))) for i in range(3)]
            await writer.take(3)
            good = Receipt(1, 0, ())
            await writer.answer(good, Failure(kind.code, "it is so"), good)
            return await asyncio.gather(*sent, return_exceptions=True)

    first, failed, last = asyncio.run(run())
    assert isinstance(first, Receipt)
    assert isinstance(last, Receipt)
    assert type(failed) is kind
    assert str(failed) == "it is so"


def test_others_wrote_is_reported_before_the_receipt_and_without_one() -> None:
    reported: list[bool] = []

    async def run() -> None:
        async with connected_client(lambda reply: reported.append(reply.others_wrote)) as (
            client,
            writer,
        ):
            await writer.answer(others_wrote=True)
            sent = asyncio.create_task(client.store(batch(1)))
            await writer.take(1)
            await writer.answer(Receipt(1, 0, ()), others_wrote=True)
            await sent
            assert reported == [True, True]

    asyncio.run(run())


def test_close_sends_what_is_queued() -> None:
    async def run() -> Receipt:
        ours, theirs = socket.socketpair()
        with theirs:
            client, writer = await WriterClient.connect(ours, lambda _: None), FakeWriter(theirs)
            sent = asyncio.create_task(client.store(batch(7)))
            await asyncio.sleep(0)
            closing = asyncio.create_task(client.close())
            [taken] = await writer.take(1)
            assert taken.readings[0].sensor == "s7"
            await writer.answer(Receipt(1, 0, ()))
            assert not closing.done()  # the writer hasn't ended yet
            receipt = await sent
            theirs.close()
            await closing
            return receipt

    assert asyncio.run(run()).accepted == 1


def test_a_batch_that_cant_be_encoded_fails_alone() -> None:
    poison = Batch(NODE, NOON_MS, [Reading(0, "x", 1.0, None, NOON_MS, sent="\ud800")])

    async def run() -> list[Receipt | BaseException]:
        async with connected_client() as (client, writer):
            batches = [batch(0, size=1), poison, batch(1, size=2), poison, batch(2, size=3)]
            sent = [asyncio.create_task(client.store(one)) for one in batches]
            assert [one.size for one in await writer.take(3)] == [1, 2, 3]
            assert client.backlog == 6
            await writer.answer(*(Receipt(size, 0, ()) for size in (1, 2, 3)))
            return await asyncio.gather(*sent, return_exceptions=True)

    results = asyncio.run(run())
    assert [type(result) for result in results[1::2]] == [UnicodeEncodeError] * 2
    assert [one.accepted for one in results[::2] if isinstance(one, Receipt)] == [1, 2, 3]


REPLYING = """
import asyncio, socket, sys
from tmon.store.messages import Failure, Reply, encode_message
from ingest.writer_client import WriterClient
from tmon.core.reading import Batch, Node, Reading, Receipt

GOOD = (1, Receipt(1, 0, ()))

async def run(said):
    ours, theirs = socket.socketpair()
    client = await WriterClient.connect(ours, lambda _: None)
    batch = Batch(Node("uid", "n", "n"), 0, [Reading(0, "x", 1.0, None, 0)])
    sent = [asyncio.create_task(client.store(batch)) for _ in range(2)]
    for one in sent:
        one.add_done_callback(lambda _: print("acknowledged", flush=True))
    await asyncio.sleep(0.01)
    theirs.sendall(said)
    await asyncio.sleep(30)

asyncio.run(run(eval(sys.argv[1])))
"""


@pytest.mark.parametrize(
    "said",
    [
        "encode_message(Reply([(3, Receipt(1, 0, ()))]))",  # a number that wasn't given yet
        "encode_message(Reply([GOOD, (0, Receipt(1, 0, ()))]))",
        "encode_message(Reply([GOOD, GOOD]))",
        "encode_message(Reply([GOOD])) + encode_message(Reply([GOOD]))",
        "encode_message(Reply([GOOD, (2, Receipt(2, 0, ()))]))",  # another batch's
        "encode_message(Reply([GOOD, (2, Receipt(0, 0, ()))]))",
        "encode_message(Reply([GOOD, (2, Failure('no_such_code', 'why'))]))",
        "encode_message([[[1, 'stored']]])",  # a result of another kind
        "encode_message([[GOOD[1]]])",  # a receipt without a number
        "encode_message([GOOD])",
        "b'\\0\\0\\0\\1\\xc1'",  # not MessagePack
        "b'HTTP/1.1 200 OK'",  # a length of a gigabyte
    ],
)
def test_an_impossible_reply_ends_the_process_before_it_acknowledges(said: str) -> None:
    command = [sys.executable, "-c", REPLYING, said]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert "the writing process sent what can't be right" in ended.stderr


def test_the_writer_gets_a_window_of_readings_and_the_rest_is_queued() -> None:
    async def run() -> None:
        async with connected_client(clock=Clock()) as (client, writer):  # it commits in no time
            sent = [asyncio.create_task(client.store(batch(i, size=1000))) for i in range(50)]
            await writer.take(1)
            await asyncio.sleep(0.05)
            assert client.backlog == 50_000
            assert len(writer.taken) == 1  # little, until it is known how fast it commits
            await writer.answer(Receipt(1000, 0, ()))
            window = WINDOW_READINGS // 1000
            await writer.take(1 + window)
            await asyncio.sleep(0.05)
            assert len(writer.taken) == 1 + window
            for first in range(1, 50, 7):
                await writer.take(min(first + window, 50))
                await writer.answer(*[Receipt(1000, 0, ())] * 7)
            receipts = await asyncio.gather(*sent)
            assert [receipt.accepted for receipt in receipts] == [1000] * 50
            assert client.backlog == 0

    asyncio.run(run())


def test_replies_without_receipts_dont_raise_the_commit_rate() -> None:
    """That others wrote is told beside the receipts, and says nothing of how fast it commits."""

    async def run() -> None:
        clock = Clock()
        async with connected_client(clock=clock) as (client, writer):
            first = asyncio.create_task(client.store(batch(0, size=1000)))
            await writer.take(1)
            for _ in range(20):
                clock.now_s += 0.25
                await writer.answer(others_wrote=True)
                await asyncio.sleep(0.01)
            await writer.answer(Receipt(1000, 0, ()))
            await first  # after five seconds
            sent = [asyncio.create_task(client.store(batch(i, size=1000))) for i in (1, 2, 3)]
            await asyncio.sleep(0.05)
            with pytest.raises(Overloaded):
                client.check_capacity()
            await writer.take(2)
            await writer.answer(*[Receipt(1000, 0, ())])
            await writer.take(3)
            await writer.answer(*[Receipt(1000, 0, ())])
            await writer.take(4)
            await writer.answer(*[Receipt(1000, 0, ())])
            await asyncio.gather(*sent)

    asyncio.run(run())


@pytest.mark.parametrize("how", ["gone", "cancelled"])
def test_a_queued_batch_whose_sender_went_away_is_dropped(how: str) -> None:
    gone = False

    async def run() -> None:
        nonlocal gone
        async with connected_client() as (client, writer):
            full = asyncio.create_task(client.store(batch(0, size=WINDOW_READINGS)))
            await writer.take(1)
            late = asyncio.create_task(client.store(batch(1), lambda: gone))
            other = asyncio.create_task(client.store(batch(2)))
            await asyncio.sleep(0)
            if how == "cancelled":
                late.cancel()
            gone = True
            await writer.answer(Receipt(WINDOW_READINGS, 0, ()))
            taken = await writer.take(2)
            assert [one.readings[0].sensor for one in taken] == ["s0", "s2"]
            await writer.answer(Receipt(1, 0, ()))
            await asyncio.gather(full, other)
            with pytest.raises(Overloaded if how == "gone" else asyncio.CancelledError):
                await late
            assert client.backlog == 0

    asyncio.run(run())


def test_a_sender_that_half_closes_is_answered_if_its_batch_was_not_queued() -> None:
    async def run() -> Receipt:
        async with connected_client() as (client, writer):
            sent = asyncio.create_task(client.store(batch(1), lambda: True))
            await writer.take(1)
            await writer.answer(Receipt(1, 0, ()))
            return await sent

    assert asyncio.run(run()).accepted == 1


def test_batches_are_refused_if_the_backlog_takes_over_ten_seconds() -> None:
    async def run() -> None:
        clock = Clock()
        async with connected_client(clock=clock) as (client, writer):

            async def store_one_more(seconds: float) -> None:
                sent = asyncio.create_task(client.store(batch(1, size=2000)))
                await writer.take(len(writer.taken) + 1)
                clock.now_s += seconds
                await writer.answer(Receipt(2000, 0, ()))
                await sent

            for _ in range(10):
                await store_one_more(seconds=1)  # so 2,000 a second
            waiting = []
            for i in range(11):
                client.check_capacity()
                waiting.append(asyncio.create_task(client.store(batch(i, size=1901))))
                await asyncio.sleep(0)
            with pytest.raises(Overloaded):
                client.check_capacity()
            with pytest.raises(Overloaded):
                await client.store(batch(1))
            taken = await writer.take(13)
            await asyncio.sleep(0.05)
            assert len(taken) == 10 + 3  # two seconds' work, and not less than one batch
            for one in waiting:
                one.cancel()
            await writer.answer(*[Receipt(1901, 0, ())] * 3)

    asyncio.run(run())


def test_batches_are_refused_while_nothing_is_committed() -> None:
    async def run() -> None:
        clock = Clock()
        async with connected_client(clock=clock) as (client, writer):
            assert client.oldest_waiting_s == 0
            sent = asyncio.create_task(client.store(batch(1)))
            await writer.take(1)
            clock.now_s += MAX_WAIT_S
            client.check_capacity()
            clock.now_s += 1
            assert client.oldest_waiting_s == MAX_WAIT_S + 1
            with pytest.raises(Overloaded):
                client.check_capacity()
            await writer.answer(Receipt(1, 0, ()))
            await sent
            client.check_capacity()
            assert client.oldest_waiting_s == 0

    asyncio.run(run())


def test_a_writer_that_replies_to_something_is_not_stuck() -> None:
    """It is stuck when ten seconds have passed since it last settled a batch."""

    async def run() -> None:
        clock = Clock()
        async with connected_client(clock=clock) as (client, writer):
            sent = [asyncio.create_task(client.store(batch(i))) for i in range(3)]
            await writer.take(3)
            for one in sent[:2]:
                clock.now_s += MAX_WAIT_S - 1
                await writer.answer(Receipt(1, 0, ()))
                await one
                client.check_capacity()
            clock.now_s += MAX_WAIT_S - 1
            assert client.oldest_waiting_s == 3 * (MAX_WAIT_S - 1)
            await writer.answer(others_wrote=True)  # which isn't its own work
            await asyncio.sleep(0.05)
            clock.now_s += 2
            with pytest.raises(Overloaded):
                client.check_capacity()
            await writer.answer(Receipt(1, 0, ()))
            await sent[2]

    asyncio.run(run())


def test_a_small_transaction_doesnt_lower_the_commit_rate() -> None:
    rate = CommitRate()
    assert rate.readings_in(1) > 10**9
    rate.add(1, 0.1)  # an SD card's sync
    assert rate.readings_in(10) == pytest.approx(10 * SMALL_READINGS / 0.1)
    for _ in range(20):
        rate.add(10_000, 5)
    assert rate.readings_in(10) == pytest.approx(20_000, rel=0.01)


def test_close_doesnt_wait_long_for_a_stuck_writer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def run() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            client = await WriterClient.connect(ours, lambda _: None)
            sent = asyncio.create_task(client.store(batch(1)))
            await FakeWriter(theirs).take(1)
            await client.close(limit_s=0.05)
            sent.cancel()

    asyncio.run(run())
    assert "the writing process is stuck" in caplog.text
