"""What goes from the process that takes readings to the one that writes them, and back."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import ApiError, DiskFull, Locked, Unavailable
from ingest.frames import LENGTH_BYTES, Failure, Reply, batches_in, frame, replies_in
from ingest.handover import HANDOVER_BATCHES, Handover
from ingest.reading import Batch, Node, Reading, Receipt, Rejection

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
REPLIES = st.builds(Reply, st.lists(RECEIPTS | FAILURES, max_size=5), st.booleans())


def cut(data: bytes, at: list[int]) -> list[bytes]:
    ends = [*sorted(each % len(data) for each in at), len(data)] if data else []
    return [data[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


CUTS = st.lists(st.integers(0, 2**20), max_size=20)


@given(st.lists(st.lists(BATCHES, max_size=3), max_size=4), CUTS)
def test_batches_that_are_cut_anywhere_come_out_whole(
    sent: list[list[Batch]], at: list[int]
) -> None:
    frames = batches_in()
    pieces = cut(b"".join(map(frame, sent)), at)
    received = [message for piece in pieces for message in frames.feed(piece)]
    assert [[*map(plain, batches)] for batches in received] == [
        [*map(plain, batches)] for batches in sent
    ]


@given(st.lists(REPLIES, max_size=5), CUTS)
def test_replies_that_are_cut_anywhere_come_out_whole(sent: list[Reply], at: list[int]) -> None:
    frames = replies_in()
    pieces = cut(b"".join(map(frame, sent)), at)
    received = [message for piece in pieces for message in frames.feed(piece)]
    assert [*map(frame, received)] == [*map(frame, sent)]
    assert [*map(type, received)] == [Reply] * len(sent)


def plain(batch: Batch) -> tuple[object, ...]:
    """A batch's fields; lists and tuples are the same on the line."""
    return (batch.node, batch.received_ms, [*batch.readings], [*batch.rejected], batch.clock_skew_s)


def test_a_message_byte_by_byte_comes_with_its_last_byte() -> None:
    frames = replies_in()
    sent = frame(Reply([Receipt(1, 0, ())]))
    assert len(sent) == LENGTH_BYTES + int.from_bytes(sent[:LENGTH_BYTES], "big")
    for i in range(len(sent) - 1):
        assert not [*frames.feed(sent[i : i + 1])]
    [reply] = frames.feed(sent[-1:])
    assert [type(result) for result in reply.results] == [Receipt]


class Clerk:
    """The other end of the line: takes batches, and answers when and what it is told to."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._line.setblocking(False)
        self._frames = batches_in()
        self.rounds: list[list[Batch]] = []

    async def take(self, count: int) -> list[Batch]:
        """So many batches, or more."""
        while len(self.taken) < count:
            data = await asyncio.get_running_loop().sock_recv(self._line, 65536)
            self.rounds += self._frames.feed(data)
        return self.taken

    @property
    def taken(self) -> list[Batch]:
        return [batch for batches in self.rounds for batch in batches]

    async def answer(self, *results: Receipt | Failure, others_wrote: bool = False) -> None:
        reply = frame(Reply([*results], others_wrote))
        await asyncio.get_running_loop().sock_sendall(self._line, reply)


@asynccontextmanager
async def line(
    on_reply: Callable[[Reply], object] = lambda _: None,
) -> AsyncIterator[tuple[Handover, Clerk]]:
    ours, theirs = socket.socketpair()
    with theirs:
        handover = await Handover.over(ours, on_reply)
        yield handover, Clerk(theirs)
        closing = asyncio.create_task(handover.close())
        await asyncio.sleep(0)
        theirs.close()
        await closing


def batch(number: int) -> Batch:
    return Batch(NODE, NOON_MS, [Reading(0, f"s{number}", float(number), None, NOON_MS)])


def test_receipts_reach_their_senders_in_order() -> None:
    async def run() -> list[Receipt]:
        async with line() as (handover, clerk):
            sent = [asyncio.create_task(handover.store(batch(i))) for i in range(50)]
            taken = await clerk.take(50)
            assert [one.readings[0].sensor for one in taken] == [f"s{i}" for i in range(50)]
            for begin, end in [(0, 1), (1, 30), (30, 50)]:
                await clerk.answer(*(Receipt(i, 0, ()) for i in range(begin, end)))
            return await asyncio.gather(*sent)

    assert [receipt.accepted for receipt in asyncio.run(run())] == [*range(50)]


def test_what_comes_together_is_handed_over_together() -> None:
    async def run() -> list[int]:
        async with line() as (handover, clerk):
            sent = [asyncio.create_task(handover.store(batch(i))) for i in range(20)]
            await clerk.take(20)
            await clerk.answer(*[Receipt(1, 0, ())] * 20)
            await asyncio.gather(*sent)
            return [len(batches) for batches in clerk.rounds]

    assert asyncio.run(run()) == [HANDOVER_BATCHES, HANDOVER_BATCHES, 20 - 2 * HANDOVER_BATCHES]


def test_a_sender_that_is_cancelled_doesnt_disturb_the_others() -> None:
    async def run() -> tuple[list[Receipt], int]:
        async with line() as (handover, clerk):
            sent = [asyncio.create_task(handover.store(batch(i))) for i in range(5)]
            await clerk.take(5)
            sent[0].cancel()
            sent[3].cancel()
            await asyncio.sleep(0)
            assert handover.backlog == 5  # they are stored all the same
            await clerk.answer(*(Receipt(i, 0, ()) for i in range(5)))
            receipts = [await sent[i] for i in (1, 2, 4)]
            assert sent[0].cancelled()
            assert sent[3].cancelled()
            return receipts, handover.backlog

    receipts, backlog = asyncio.run(run())
    assert [receipt.accepted for receipt in receipts] == [1, 2, 4]
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
            await clerk.answer(Receipt(7, 0, ()))
            assert not closing.done()  # the writer hasn't ended yet
            receipt = await sent
            theirs.close()
            await closing
            return receipt

    assert asyncio.run(run()).accepted == 7
