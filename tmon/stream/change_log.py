"""The owner's changes, one at a time on all machines: docs/decisions/0023.

The key ``change`` of the bucket holds the last change whole, and who is making the next one. A
change is made once it stands there; who finds that it wasn't published then, publishes it.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from time import monotonic

import nats.errors
from msgspec import Struct
from msgspec.structs import replace
from nats.aio.client import Client
from nats.js.api import Header
from nats.js.errors import BadRequestError

from tmon.core.errors import TmonError
from tmon.stream.bucket import ANSWER_S, PAUSE_S, Bucket, BucketLost
from tmon.stream.connection import ATTEMPT_S, describe
from tmon.stream.entries import Entry, UnreadableValue, encode_value
from tmon.stream.messages import MESSAGE_BYTES, Change, Statement, encode, stream_name, subject
from tmon.stream.streams import BUCKET

CHANGE = "change"  # the key of the last change
LEADERS = 6  # that are asked for it, where it is damaged; there are three or five servers
LEASE_S = 5.0  # who holds the key for longer, without a change of it, has ended amid its change


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

    def __init__(
        self, client: Client, lease_s: float = LEASE_S, answer_s: float = ANSWER_S
    ) -> None:
        self._js = client.jetstream(timeout=ATTEMPT_S)
        self._bucket = Bucket(client, answer_s)
        self._lease_s = lease_s
        self._id = secrets.token_hex(8)
        self._last = LastChange()
        self._revision = 0
        self.is_held = False

    async def acquire(self, stored: Callable[[], int], turn_s: float) -> None:
        """Wait for our turn.

        Args:
            stored: the number of the last change that this machine's file has.
            turn_s: how long it may take.

        Raises:
            NotChanged: others take too long, the file lacks the last change, or NATS is away.
            UnreadableChange: no server has the last change whole.
        """
        until_s = monotonic() + turn_s
        revision, since_s = 0, monotonic()
        while not self.is_held:
            try:
                await self._read(stored())
                if self._revision != revision:
                    revision, since_s = self._revision, monotonic()
                if not self._last.holder and stored() >= self._last.number:
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
            with suppress(nats.errors.Error, UnreadableChange):  # else others wait for LEASE_S
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
        info = await self._bucket.answered(lambda: self._js.stream_info(stream_name(partition)))
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
        except (nats.errors.Error, UnreadableChange) as error:
            raise PerhapsChanged(
                f"NATS has stopped answering ({describe(error)}), so it isn't known whether this "
                "was changed; once it answers, look before you repeat the command"
            ) from error
        if not is_made and (self._last.number, self._last.author) != (number, self._id):
            raise NotChanged("others were faster, so nothing was changed; try again")
        try:
            await self._finish()
        except (nats.errors.Error, UnreadableChange) as error:
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
                await self._read(self._last.number)
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
            await self._bucket.answered(
                lambda: self._js.publish(subject(last.partition), last.message, headers=headers)
            )
            for entry in last.entries:
                await self.put(entry)
        await self._replace(replace(last, published=True, holder=""))

    async def put(self, entry: Entry) -> None:
        """Put an entry into the bucket unless a later one is there."""
        until_s = monotonic() + self._bucket.answer_s
        refused = None  # the revision that the leader has told, and then refused
        while True:
            found, revision = await self._entry(entry.name)
            if found is not None and found.change >= entry.change:
                return
            if revision == refused:
                await self._bucket.replace_leader()
            try:
                await self._bucket.set(entry.name, entry, revision)
            except BadRequestError:  # another has put one meanwhile
                if monotonic() > until_s:
                    raise
                refused = revision
                continue
            return

    async def entry(self, name: str) -> Entry | None:
        """The entry with that name as the last change has left it, in our turn.

        Raises:
            nats.errors.Error: NATS doesn't answer.
        """
        return (await self._entry(name))[0]

    async def _entry(self, name: str) -> tuple[Entry | None, int]:
        """An entry of the bucket, with its revision; of one that can't be read that alone."""
        try:
            return await self._bucket.get(name, Entry)
        except UnreadableValue as error:
            return None, error.revision

    async def _read(self, newest: int = 0) -> None:
        """Read the key as it is now; where the leader hasn't it whole, from the next one.

        Args:
            newest: the number of the last change that is known.

        Raises:
            UnreadableChange: no server has it whole.
            nats.errors.Error: NATS doesn't answer.
        """
        for _ in range(LEADERS):
            try:
                last, revision = await self._bucket.get(CHANGE, LastChange)
                if last is not None and last.number >= newest:
                    self._last, self._revision = last, revision
                    return
                reason = f"change {newest} was made, and it isn't there"
            except BucketLost as error:
                raise UnreadableChange(str(error)) from None
            except UnreadableValue as error:
                reason = str(error)
            await self._bucket.replace_leader()
        raise UnreadableChange(
            f"the key `{CHANGE}` of the bucket {BUCKET} can't be read on any server ({reason}), "
            "so nothing was changed: docs/cluster.md says what to do"
        )

    async def _replace(self, new: LastChange) -> bool:
        """Set the key; False if another has set it since we read it."""
        until_s = monotonic() + self._bucket.answer_s
        while True:
            revision = self._revision
            try:
                self._revision = await self._bucket.set(CHANGE, new, revision)
            except BadRequestError:
                await self._read(self._last.number)
                if self._revision != revision:
                    return self._last == new  # then only the answer to an earlier try was lost
                if monotonic() > until_s:
                    raise
                await self._bucket.replace_leader()  # it refuses what it has told
            else:
                self._last = new
                return True

    def _why_not(self) -> str:
        if self._last.holder:
            return "others make changes all the time, so nothing was changed; try again"
        return (
            f"this machine's file hasn't stored change {self._last.number} yet, so nothing was "
            "changed: see that `tmon sink` runs here, and try again"
        )
