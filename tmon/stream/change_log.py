"""The owner's changes, one at a time on all machines: docs/decisions/0023.

The key ``change`` of the bucket holds the last change whole, and who is making the next one. A
change is made once it stands there; who finds that it wasn't published then, publishes it.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TypeVar

import nats.errors
from msgspec import Struct
from msgspec.structs import replace
from nats.js import JetStreamContext
from nats.js.api import Header
from nats.js.errors import BadRequestError, NotFoundError

from tmon.core.errors import TmonError
from tmon.stream.connection import describe
from tmon.stream.entries import Entry, UnreadableValue, decode_value, encode_value
from tmon.stream.messages import MESSAGE_BYTES, Change, Statement, encode, stream_name, subject
from tmon.stream.streams import BUCKET, BUCKET_LOST, BUCKET_STREAM

BUCKET_SUBJECT = f"$KV.{BUCKET}."
CHANGE = "change"  # the key of the last change

LEASE_S = 5.0  # who holds the key for longer, without a change of it, has ended amid its change
ANSWER_S = 10.0  # for NATS, which elects a leader within some seconds
PAUSE_S = 0.02

T = TypeVar("T")


class NotChanged(TmonError):
    """Nothing was changed; the message says why."""


class PerhapsChanged(TmonError):
    """NATS stopped answering: whether the change was made isn't known."""


class StoredLater(TmonError):
    """The change is made, but this machine's file doesn't have it yet."""


class UnreadableChange(TmonError):
    """The bucket has nothing, or something else, in place of the last change."""


class LastChange(Struct, frozen=True, array_like=True):
    """The value of the key: the last change, and who is making the next one.

    ``author`` and ``holder`` are random texts of the command that made it, and of the one whose
    turn it is now. ``published``: it is in its stream, and its entries are in the bucket.
    """

    number: int = 0
    author: str = ""
    partition: int = 0
    message: bytes = b""
    entries: tuple[Entry, ...] = ()
    published: bool = True
    holder: str = ""


class ChangeLog:
    """Makes changes, each in its turn."""

    def __init__(self, js: JetStreamContext, lease_s: float = LEASE_S) -> None:
        self._js = js
        self._lease_s = lease_s
        self._id = secrets.token_hex(8)
        self._last = LastChange()
        self._revision = 0
        self.is_held = False

    async def acquire(self, is_stored: Callable[[int], bool], turn_s: float) -> None:
        """Wait for our turn.

        Args:
            is_stored: whether this machine's file has the change of some number.
            turn_s: how long it may take.

        Raises:
            NotChanged: others take too long, the file lacks the last change, or NATS is away.
        """
        until_s = monotonic() + turn_s
        revision, since_s = 0, monotonic()
        while not self.is_held:
            try:
                await self._read()
                if self._revision != revision:
                    revision, since_s = self._revision, monotonic()
                if not self._last.holder and is_stored(self._last.number):
                    self.is_held = await self._replace(replace(self._last, holder=self._id))
                    continue
                if self._last.holder and monotonic() - since_s > self._lease_s:
                    await self._take_over()
                    continue
            except nats.errors.Error as error:
                raise NotChanged(
                    f"NATS doesn't answer, so nothing was changed: {describe(error)}"
                ) from error
            if monotonic() > until_s:
                raise NotChanged(self._why_not())
            await asyncio.sleep(PAUSE_S)

    async def release(self) -> None:
        """Give our turn up; no change was made."""
        self.is_held = False
        if self._last.holder == self._id:
            with suppress(nats.errors.Error):  # else others wait for LEASE_S
                await self._replace(replace(self._last, holder=""))

    @property
    def next_number(self) -> int:
        """The number of the change that is made next."""
        return self._last.number + 1

    async def after_last(self) -> dict[int, int]:
        """What a file must have, sequence by partition, so that it has the last change too.

        Raises:
            nats.errors.Error: NATS doesn't answer.
        """
        partition = self._last.partition
        info = await _answered(lambda: self._js.stream_info(stream_name(partition)))
        return {partition: info.state.last_seq}

    async def commit(
        self,
        statements: Sequence[Statement],
        after: Mapping[int, int],
        partition: int,
        entries: Sequence[Entry],
    ) -> int:
        """Make a change in our turn, and end that; returns its number.

        Raises:
            NotChanged: it is too large, or our turn was over.
            PerhapsChanged: NATS doesn't answer any more.
        """
        number = self.next_number
        message = encode(Change(number, dict(after), statements))
        made = LastChange(
            *(number, self._id, partition, message, tuple(entries)),
            published=False,
            holder=self._id,
        )
        if len(encode_value(made)) > MESSAGE_BYTES:
            raise NotChanged("this changes too much at once for a station on several machines")
        self.is_held = False
        try:
            is_made = await self._replace(made)
        except nats.errors.Error as error:
            raise PerhapsChanged(
                f"NATS has stopped answering ({describe(error)}), so it isn't known whether this "
                "was changed; once it answers, look before you repeat the command"
            ) from error
        if not is_made and (self._last.number, self._last.author) != (number, self._id):
            raise NotChanged("others were faster, so nothing was changed; try again")
        try:
            await self._finish()
        except nats.errors.Error as error:
            raise StoredLater(
                f"NATS has stopped answering ({describe(error)}): this change will be stored on "
                "all machines once it answers, so don't repeat the command"
            ) from error
        return number

    async def finish_abandoned(self) -> None:
        """Until cancelled, complete changes of commands that ended amid them."""
        revision = 0
        while True:
            try:
                await self._read()
                if self._last.holder and self._revision == revision:
                    await self._take_over()
                revision = self._revision
            except (nats.errors.Error, UnreadableChange):
                pass  # whoever changes something says so
            await asyncio.sleep(self._lease_s)

    async def _take_over(self) -> None:
        """Complete the change of a holder that has ended."""
        if await self._replace(replace(self._last, holder=self._id)):
            await self._finish()

    async def _finish(self) -> None:
        """Publish the last change, put its entries into the bucket, and end our turn."""
        last = self._last
        if not last.published:
            # After NATS forgets the id, a second copy is one more message: sinks skip it.
            headers = {Header.MSG_ID.value: f"change-{last.number}"}
            await _answered(
                lambda: self._js.publish(subject(last.partition), last.message, headers=headers)
            )
            for entry in last.entries:
                await _answered(partial(self.put, entry))
        await self._replace(replace(last, published=True, holder=""))

    async def put(self, entry: Entry) -> None:
        """Put an entry into the bucket unless a later one is there."""
        until_s = monotonic() + ANSWER_S
        while True:
            found, revision = await self._entry(entry.name)
            if found is not None and found.change >= entry.change:
                return
            try:
                await self._publish_if(revision, BUCKET_SUBJECT + entry.name, encode_value(entry))
            except BadRequestError:  # another has put one meanwhile
                if monotonic() > until_s:  # or the leader has lost the one that it counts
                    raise
                await asyncio.sleep(PAUSE_S)
                continue
            return

    async def entry(self, name: str) -> Entry | None:
        """The entry with that name as the last change has left it, in our turn.

        Raises:
            nats.errors.Error: NATS doesn't answer.
        """
        return (await _answered(lambda: self._entry(name)))[0]

    async def _entry(self, name: str) -> tuple[Entry | None, int]:
        """An entry of the bucket, with its revision."""
        try:
            found = await self._js.get_last_msg(BUCKET_STREAM, BUCKET_SUBJECT + name)
        except NotFoundError:
            return None, 0
        with suppress(UnreadableValue):  # as if there were nothing
            return decode_value(found.data, Entry), found.seq or 0
        return None, found.seq or 0

    async def _read(self) -> None:
        """Read the key as it is now."""
        try:
            found = await _answered(
                lambda: self._js.get_last_msg(BUCKET_STREAM, BUCKET_SUBJECT + CHANGE)
            )
            self._last = decode_value(found.data, LastChange)
        except NotFoundError:
            raise UnreadableChange(BUCKET_LOST) from None
        except UnreadableValue as error:
            raise UnreadableChange(
                f"the key `{CHANGE}` of the bucket {BUCKET} can't be read, so nothing was changed: "
                f"{error}; docs/cluster.md says what to do"
            ) from None
        self._revision = found.seq or 0

    async def _replace(self, new: LastChange) -> bool:
        """Set the key; False if another has set it since we read it."""
        data, revision = encode_value(new), self._revision
        try:
            self._revision = await _answered(
                lambda: self._publish_if(revision, BUCKET_SUBJECT + CHANGE, data)
            )
        except BadRequestError:
            await self._read()
            return self._last == new  # if so, only the answer to an earlier attempt was lost
        self._last = new
        return True

    async def _publish_if(self, revision: int, name: str, data: bytes) -> int:
        headers = {Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(revision)}
        return (await self._js.publish(name, data, headers=headers)).seq

    def _why_not(self) -> str:
        if self._last.holder:
            return "others make changes all the time, so nothing was changed; try again"
        return (
            f"this machine's file hasn't stored change {self._last.number} yet, so nothing was "
            "changed: see that `tmon sink` runs here, and try again"
        )


async def _answered(request: Callable[[], Awaitable[T]]) -> T:
    """Repeat a request that can be repeated until NATS answers, while it elects a leader, say.

    Raises:
        nats.errors.Error: it doesn't, or it refuses the request.
    """
    until_s = monotonic() + ANSWER_S
    while True:
        try:
            return await request()
        except (BadRequestError, NotFoundError, nats.errors.ConnectionClosedError):
            raise
        except nats.errors.Error:
            if monotonic() > until_s:
                raise
            await asyncio.sleep(PAUSE_S)
