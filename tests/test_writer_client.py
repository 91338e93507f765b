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
    HANDOVER_BATCHES,
    PATIENCE_S,
    SMALL_READINGS,
    WINDOW_READINGS,
    CommitRate,
    Handover,
)
from tmon.core.errors import ApiError, DiskFull, Locked, Overloaded, Unavailable
from tmon.core.reading import Batch, Node, Reading, Receipt, Rejection
from tmon.store.messages import LENGTH_BYTES, Failure, Frames, Reply, batches_in, encode, frame

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
def test_batches_that_are_cut_anywhere_come_out_whole(
    sent: list[list[tuple[int, Batch]]], at: list[int]
) -> None:
    frames = batches_in()
    framed = (frame([(number, encode(batch)) for number, batch in message]) for message in sent)
    pieces = cut(b"".join(framed), at)
    received = [message for piece in pieces for message in frames.feed(piece)]
    assert [[(number, plain(batch)) for number, batch in message] for message in received] == [
        [(number, plain(batch)) for number, batch in message] for message in sent
    ]


@given(st.lists(REPLIES, max_size=5), CUTS)
def test_replies_that_are_cut_anywhere_come_out_whole(sent: list[Reply], at: list[int]) -> None:
    frames = Frames(Reply)
    pieces = cut(b"".join(map(frame, sent)), at)
    received = [message for piece in pieces for message in frames.feed(piece)]
    assert [*map(frame, received)] == [*map(frame, sent)]
    assert [*map(type, received)] == [Reply] * len(sent)


def plain(batch: Batch) -> tuple[object, ...]:
    """A batch's fields; lists and tuples are the same on the line."""
    return (batch.node, batch.received_ms, [*batch.readings], [*batch.rejected], batch.clock_skew_s)


def test_a_message_byte_by_byte_comes_with_its_last_byte() -> None:
    frames = Frames(Reply)
    sent = frame(Reply([(1, Receipt(1, 0, ()))]))
    assert len(sent) == LENGTH_BYTES + int.from_bytes(sent[:LENGTH_BYTES], "big")
    for i in range(len(sent) - 1):
        assert not [*frames.feed(sent[i : i + 1])]
    [reply] = frames.feed(sent[-1:])
    assert [type(result) for _, result in reply.results] == [Receipt]


class Clerk:
    """The other end of the line: takes batches, and answers when and what it is told to."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._line.setblocking(False)
        self._frames = batches_in()
        self._answered = 0
        self.rounds: list[list[Batch]] = []

    async def take(self, count: int) -> list[Batch]:
        """So many batches, or more."""
        while len(self.taken) < count:
            data = await asyncio.get_running_loop().sock_recv(self._line, 1 << 20)
            for batches in self._frames.feed(data):
                self.rounds.append([batch for _, batch in batches])
        return self.taken

    @property
    def taken(self) -> list[Batch]:
        return [batch for batches in self.rounds for batch in batches]

    async def answer(self, *results: Receipt | Failure, others_wrote: bool = False) -> None:
        """Answer the next batches."""
        numbered = [*enumerate(results, self._answered + 1)]
        self._answered += len(results)
        await self.say(frame(Reply(numbered, others_wrote)))

    async def say(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._line, data)


class Clock:
    """Seconds, as the test says."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@asynccontextmanager
async def line(
    on_reply: Callable[[Reply], object] = lambda _: None, clock: Callable[[], float] = monotonic
) -> AsyncIterator[tuple[Handover, Clerk]]:
    ours, theirs = socket.socketpair()
    with theirs:
        handover = await Handover.over(ours, on_reply, clock)
        yield handover, Clerk(theirs)
        closing = asyncio.create_task(handover.close())
        await asyncio.sleep(0)
        theirs.close()
        await closing


def batch(number: int, size: int = 1) -> Batch:
    readings = [Reading(i, f"s{number}", float(number), None, NOON_MS + i) for i in range(size)]
    return Batch(NODE, NOON_MS, readings)


def test_receipts_reach_their_senders_in_order() -> None:
    async def run() -> list[Receipt]:
        async with line() as (handover, clerk):
            sent = [asyncio.create_task(handover.store(batch(i, size=i))) for i in range(40)]
            taken = await clerk.take(40)
            assert [one.size for one in taken] == [*range(40)]
            for begin, end in [(0, 1), (1, 30), (30, 40)]:
                await clerk.answer(*(Receipt(i, 0, ()) for i in range(begin, end)))
            return await asyncio.gather(*sent)

    assert [receipt.accepted for receipt in asyncio.run(run())] == [*range(40)]


def test_what_comes_together_is_handed_over_together() -> None:
    async def run() -> list[int]:
        async with line() as (handover, clerk):
            count = 2 * HANDOVER_BATCHES + 4
            sent = [asyncio.create_task(handover.store(batch(i))) for i in range(count)]
            await clerk.take(count)
            await clerk.answer(*[Receipt(1, 0, ())] * count)
            await asyncio.gather(*sent)
            return [len(batches) for batches in clerk.rounds]

    assert asyncio.run(run()) == [HANDOVER_BATCHES, HANDOVER_BATCHES, 4]


def test_a_sender_that_is_cancelled_doesnt_disturb_the_others() -> None:
    async def run() -> tuple[list[Receipt], int]:
        async with line() as (handover, clerk):
            sent = [asyncio.create_task(handover.store(batch(i))) for i in range(5)]
            await clerk.take(5)
            sent[0].cancel()
            sent[3].cancel()
            await asyncio.sleep(0)
            assert handover.backlog == 5  # they are stored all the same
            await clerk.answer(*(Receipt(0, i, [refused] * (1 - i)) for i in (0, 1, 1, 0, 0)))
            receipts = [await sent[i] for i in (1, 2, 4)]
            assert sent[0].cancelled()
            assert sent[3].cancelled()
            return receipts, handover.backlog

    refused = Rejection(0, "conflict", "")
    receipts, backlog = asyncio.run(run())
    assert [receipt.duplicates for receipt in receipts] == [1, 1, 0]
    assert backlog == 0


@pytest.mark.parametrize("kind", [Unavailable, Locked, DiskFull])
def test_a_failure_is_its_own_error_at_the_sender_and_only_there(kind: type[ApiError]) -> None:
    async def run() -> list[Receipt | BaseException]:
        async with line() as (handover, clerk):
            sent = [asyncio.create_task(handover.store(batch(i))) for i in range(3)]
            await clerk.take(3)
            good = Receipt(1, 0, ())
            await clerk.answer(good, Failure(kind.code, "it is so"), good)
            return await asyncio.gather(*sent, return_exceptions=True)

    first, failed, last = asyncio.run(run())
    assert isinstance(first, Receipt)
    assert isinstance(last, Receipt)
    assert type(failed) is kind
    assert str(failed) == "it is so"


def test_that_others_wrote_is_heard_before_the_receipt_and_without_one() -> None:
    heard: list[bool] = []

    async def run() -> None:
        async with line(lambda reply: heard.append(reply.others_wrote)) as (handover, clerk):
            await clerk.answer(others_wrote=True)
            sent = asyncio.create_task(handover.store(batch(1)))
            await clerk.take(1)
            await clerk.answer(Receipt(1, 0, ()), others_wrote=True)
            await sent
            assert heard == [True, True]

    asyncio.run(run())


def test_the_end_hands_over_what_was_gathered() -> None:
    async def run() -> Receipt:
        ours, theirs = socket.socketpair()
        with theirs:
            handover, clerk = await Handover.over(ours, lambda _: None), Clerk(theirs)
            sent = asyncio.create_task(handover.store(batch(7)))
            await asyncio.sleep(0)
            closing = asyncio.create_task(handover.close())
            [taken] = await clerk.take(1)
            assert taken.readings[0].sensor == "s7"
            await clerk.answer(Receipt(1, 0, ()))
            assert not closing.done()  # the writer hasn't ended yet
            receipt = await sent
            theirs.close()
            await closing
            return receipt

    assert asyncio.run(run()).accepted == 1


def test_a_batch_that_cant_be_encoded_fails_alone() -> None:
    poison = Batch(NODE, NOON_MS, [Reading(0, "x", 1.0, None, NOON_MS, sent="\ud800")])

    async def run() -> list[Receipt | BaseException]:
        async with line() as (handover, clerk):
            batches = [batch(0, size=1), poison, batch(1, size=2), poison, batch(2, size=3)]
            sent = [asyncio.create_task(handover.store(one)) for one in batches]
            assert [one.size for one in await clerk.take(3)] == [1, 2, 3]
            assert handover.backlog == 6
            await clerk.answer(*(Receipt(size, 0, ()) for size in (1, 2, 3)))
            return await asyncio.gather(*sent, return_exceptions=True)

    results = asyncio.run(run())
    assert [type(result) for result in results[1::2]] == [UnicodeEncodeError] * 2
    assert [one.accepted for one in results[::2] if isinstance(one, Receipt)] == [1, 2, 3]


SPEAKING = """
import asyncio, socket, sys
from tmon.store.messages import Failure, Reply, frame
from ingest.writer_client import Handover
from tmon.core.reading import Batch, Node, Reading, Receipt

GOOD = (1, Receipt(1, 0, ()))

async def run(said):
    ours, theirs = socket.socketpair()
    handover = await Handover.over(ours, lambda _: None)
    batch = Batch(Node("uid", "n", "n"), 0, [Reading(0, "x", 1.0, None, 0)])
    sent = [asyncio.create_task(handover.store(batch)) for _ in range(2)]
    for one in sent:
        one.add_done_callback(lambda _: print("acknowledged", flush=True))
    await asyncio.sleep(0.01)
    theirs.sendall(said)
    await asyncio.sleep(5)

asyncio.run(run(eval(sys.argv[1])))
"""


@pytest.mark.parametrize(
    "said",
    [
        "frame(Reply([(3, Receipt(1, 0, ()))]))",  # a number that wasn't given yet
        "frame(Reply([GOOD, (0, Receipt(1, 0, ()))]))",
        "frame(Reply([GOOD, GOOD]))",
        "frame(Reply([GOOD])) + frame(Reply([GOOD]))",
        "frame(Reply([GOOD, (2, Receipt(2, 0, ()))]))",  # another batch's
        "frame(Reply([GOOD, (2, Receipt(0, 0, ()))]))",
        "frame(Reply([GOOD, (2, Failure('no_such_code', 'why'))]))",
        "frame([[[1, 'stored']]])",  # a result of another kind
        "frame([[GOOD[1]]])",  # a receipt without a number
        "frame([GOOD])",
        "b'\\0\\0\\0\\1\\xc1'",  # not MessagePack
        "b'HTTP/1.1 200 OK'",  # a length of a gigabyte
    ],
)
def test_what_the_writer_cant_have_said_ends_the_process_unacknowledged(said: str) -> None:
    command = [sys.executable, "-c", SPEAKING, said]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert "the writing process sent what can't be right" in ended.stderr


def test_the_writer_has_a_window_of_readings_and_the_rest_waits_here() -> None:
    async def run() -> None:
        async with line(clock=Clock()) as (handover, clerk):  # it commits in no time
            sent = [asyncio.create_task(handover.store(batch(i, size=1000))) for i in range(50)]
            await clerk.take(1)
            await asyncio.sleep(0.05)
            assert handover.backlog == 50_000
            assert len(clerk.taken) == 1  # little, until it is known how fast it commits
            await clerk.answer(Receipt(1000, 0, ()))
            window = WINDOW_READINGS // 1000
            await clerk.take(1 + window)
            await asyncio.sleep(0.05)
            assert len(clerk.taken) == 1 + window
            for first in range(1, 50, 7):
                await clerk.take(min(first + window, 50))
                await clerk.answer(*[Receipt(1000, 0, ())] * 7)
            receipts = await asyncio.gather(*sent)
            assert [receipt.accepted for receipt in receipts] == [1000] * 50
            assert handover.backlog == 0

    asyncio.run(run())


def test_a_slow_disk_is_slow_also_while_others_write() -> None:
    """That others wrote is told beside the receipts, and says nothing of how fast it commits."""

    async def run() -> None:
        clock = Clock()
        async with line(clock=clock) as (handover, clerk):
            first = asyncio.create_task(handover.store(batch(0, size=1000)))
            await clerk.take(1)
            for _ in range(20):
                clock.now_s += 0.25
                await clerk.answer(others_wrote=True)
                await asyncio.sleep(0.01)
            await clerk.answer(Receipt(1000, 0, ()))
            await first  # after five seconds
            sent = [asyncio.create_task(handover.store(batch(i, size=1000))) for i in (1, 2, 3)]
            await asyncio.sleep(0.05)
            with pytest.raises(Overloaded):
                handover.check_room()
            await clerk.take(2)
            await clerk.answer(*[Receipt(1000, 0, ())])
            await clerk.take(3)
            await clerk.answer(*[Receipt(1000, 0, ())])
            await clerk.take(4)
            await clerk.answer(*[Receipt(1000, 0, ())])
            await asyncio.gather(*sent)

    asyncio.run(run())


@pytest.mark.parametrize("how", ["gone", "cancelled"])
def test_a_queued_batch_whose_sender_went_away_is_dropped(how: str) -> None:
    gone = False

    async def run() -> None:
        nonlocal gone
        async with line() as (handover, clerk):
            full = asyncio.create_task(handover.store(batch(0, size=WINDOW_READINGS)))
            await clerk.take(1)
            late = asyncio.create_task(handover.store(batch(1), lambda: gone))
            other = asyncio.create_task(handover.store(batch(2)))
            await asyncio.sleep(0)
            if how == "cancelled":
                late.cancel()
            gone = True
            await clerk.answer(Receipt(WINDOW_READINGS, 0, ()))
            taken = await clerk.take(2)
            assert [one.readings[0].sensor for one in taken] == ["s0", "s2"]
            await clerk.answer(Receipt(1, 0, ()))
            await asyncio.gather(full, other)
            with pytest.raises(Overloaded if how == "gone" else asyncio.CancelledError):
                await late
            assert handover.backlog == 0

    asyncio.run(run())


def test_who_closes_its_side_is_answered_where_there_is_no_queue() -> None:
    async def run() -> Receipt:
        async with line() as (handover, clerk):
            sent = asyncio.create_task(handover.store(batch(1), lambda: True))
            await clerk.take(1)
            await clerk.answer(Receipt(1, 0, ()))
            return await sent

    assert asyncio.run(run()).accepted == 1


def test_nothing_more_is_taken_in_than_is_stored_within_ten_seconds() -> None:
    async def run() -> None:
        clock = Clock()
        async with line(clock=clock) as (handover, clerk):

            async def store_one_more(seconds: float) -> None:
                sent = asyncio.create_task(handover.store(batch(1, size=2000)))
                await clerk.take(len(clerk.taken) + 1)
                clock.now_s += seconds
                await clerk.answer(Receipt(2000, 0, ()))
                await sent

            for _ in range(10):
                await store_one_more(seconds=1)  # so 2,000 a second
            waiting = []
            for i in range(11):
                handover.check_room()
                waiting.append(asyncio.create_task(handover.store(batch(i, size=1901))))
                await asyncio.sleep(0)
            with pytest.raises(Overloaded):
                handover.check_room()
            with pytest.raises(Overloaded):
                await handover.store(batch(1))
            taken = await clerk.take(13)
            await asyncio.sleep(0.05)
            assert len(taken) == 10 + 3  # two seconds' work, and not less than one batch
            for one in waiting:
                one.cancel()
            await clerk.answer(*[Receipt(1901, 0, ())] * 3)

    asyncio.run(run())


def test_nothing_is_taken_in_while_nothing_is_committed_and_then_again() -> None:
    async def run() -> None:
        clock = Clock()
        async with line(clock=clock) as (handover, clerk):
            assert handover.oldest_waiting_s == 0
            sent = asyncio.create_task(handover.store(batch(1)))
            await clerk.take(1)
            clock.now_s += PATIENCE_S
            handover.check_room()
            clock.now_s += 1
            assert handover.oldest_waiting_s == PATIENCE_S + 1
            with pytest.raises(Overloaded):
                handover.check_room()
            await clerk.answer(Receipt(1, 0, ()))
            await sent
            handover.check_room()
            assert handover.oldest_waiting_s == 0

    asyncio.run(run())


def test_a_writer_that_settles_something_is_not_stuck() -> None:
    """It is stuck when ten seconds have passed since it last settled a batch."""

    async def run() -> None:
        clock = Clock()
        async with line(clock=clock) as (handover, clerk):
            sent = [asyncio.create_task(handover.store(batch(i))) for i in range(3)]
            await clerk.take(3)
            for one in sent[:2]:
                clock.now_s += PATIENCE_S - 1
                await clerk.answer(Receipt(1, 0, ()))
                await one
                handover.check_room()
            clock.now_s += PATIENCE_S - 1
            assert handover.oldest_waiting_s == 3 * (PATIENCE_S - 1)
            await clerk.answer(others_wrote=True)  # which isn't its own work
            await asyncio.sleep(0.05)
            clock.now_s += 2
            with pytest.raises(Overloaded):
                handover.check_room()
            await clerk.answer(Receipt(1, 0, ()))
            await sent[2]

    asyncio.run(run())


def test_a_small_transaction_doesnt_say_that_a_large_one_takes_long() -> None:
    rate = CommitRate()
    assert rate.readings_in(1) > 10**9
    rate.add(1, 0.1)  # an SD card's sync
    assert rate.readings_in(10) == pytest.approx(10 * SMALL_READINGS / 0.1)
    for _ in range(20):
        rate.add(10_000, 5)
    assert rate.readings_in(10) == pytest.approx(20_000, rel=0.01)


def test_a_writer_that_is_stuck_doesnt_keep_the_end_waiting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def run() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            handover = await Handover.over(ours, lambda _: None)
            sent = asyncio.create_task(handover.store(batch(1)))
            await Clerk(theirs).take(1)
            await handover.close(limit_s=0.05)
            sent.cancel()

    asyncio.run(run())
    assert "the writing process is stuck" in caplog.text
