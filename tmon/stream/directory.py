"""The nodes, keys and devices that ingest knows: those of the bucket ``tmon-nodes``, in memory."""

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

import nats.errors
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, Header
from nats.js.errors import NotFoundError

from tmon.core import humanize
from tmon.core.settings import Settings
from tmon.core.tasks import end
from tmon.db.device_decisions import Decision
from tmon.stream.change_log import BUCKET_SUBJECT, CHANGE, ChangeLog, LastChange
from tmon.stream.connection import ANSWER_S, ATTEMPT_S, connect
from tmon.stream.directory_tables import DirectoryTables
from tmon.stream.entries import Entry, UnreadableValue, decode_value
from tmon.stream.streams import BUCKET_LOST, BUCKET_STREAM
from tmon.stream.trouble import Trouble

HEARTBEAT_S = 1.0
QUIET_HEARTBEATS = 2  # then a server sends nothing more by itself
SILENT_HEARTBEATS = 3  # without any the consumer is made anew: its server is gone, or forgot it
UNUSED_S = 30.0  # then the servers remove it
RETRY_S = 0.5
PATIENCE_S = 10.0  # with a value that can't be read: another server may have it whole
AT_ONCE = 1_000

log = logging.getLogger("tmon.directory")


class Directory(DirectoryTables):
    """Follows the bucket. While NATS is away, the tables stay as they are."""

    def __init__(self, heartbeat_s: float = HEARTBEAT_S, patience_s: float = PATIENCE_S) -> None:
        super().__init__()
        self._heartbeat_s = heartbeat_s
        self._patience_s = patience_s
        self.complete_change = 0  # the last change of which all entries are here
        self._created: Any = None  # when the bucket was made
        self._seen = 0  # the revision up to which the tables are as the bucket
        self._last_change = (0, "")
        self._unreadable_since_s: float | None = None  # when a value first couldn't be read
        self._pending = 0  # values that the consumer has yet to send, as it says
        self._quiet = 0  # heartbeats since the last of them
        self._short_since_s: float | None = None  # when a consumer first sent fewer than it said
        self._complete = asyncio.Event()
        self._trouble = Trouble(log, "nodes and keys stay as they are", "the bucket is there again")

    async def start(
        self,
        settings: Settings,
        on_change: Callable[[], object] = lambda: None,
        on_decisions: Callable[[Sequence[Decision] | None], object] = lambda _: None,
    ) -> None:
        """Begin to follow the bucket; return once all that is in it is in the tables.

        Args:
            settings: with the NATS servers.
            on_change: is called after each change of the tables.
            on_decisions: is called with those that changed; with None if all may have.

        Raises:
            CannotConnect: the servers don't take us.
        """
        self._client = await connect(settings, "directory")
        self._js = self._client.jetstream(timeout=ANSWER_S)
        self._on_change = on_change
        self._on_decisions = on_decisions
        self._following = asyncio.create_task(self._follow())
        self._following.add_done_callback(_end_process)
        await self._complete.wait()

    async def close(self) -> None:
        """Follow the bucket no longer."""
        await end([self._following])
        await self._client.close()

    def change_log(self) -> ChangeLog:
        """To make a change by the same connection."""
        return ChangeLog(self._client.jetstream(timeout=ANSWER_S))

    async def _follow(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self._follow_once()
                await asyncio.sleep(RETRY_S)
            except NotFoundError:
                self._trouble.begin(0, BUCKET_LOST)
                await asyncio.sleep(RETRY_S)
            except (nats.errors.Error, OSError) as error:
                log.info("the bucket of nodes can't be read now: %s", error)
                await asyncio.sleep(RETRY_S)

    async def _follow_once(self) -> None:
        """Follow the bucket with one consumer, until that is lost."""
        bucket = await self._client.jetstream(timeout=ATTEMPT_S).stream_info(BUCKET_STREAM)
        self._trouble.end(0)
        if bucket.created != self._created:  # another one: what the tables have is of the old one
            self._created, self._seen, self._last_change = bucket.created, 0, (0, "")
            self.complete_change = 0
            self._empty()
        arrived: list[Msg] = []
        wake = asyncio.Event()

        async def on_message(message: Msg) -> None:
            arrived.append(message)
            wake.set()

        subscription = await self._client.subscribe(self._client.new_inbox(), cb=on_message)
        begun, self._quiet = self._seen, 0
        try:
            self._pending = await self._consume(subscription.subject)
            if not self._pending:
                self._set_complete()
            expected = 1
            while expected:
                async with asyncio.timeout(SILENT_HEARTBEATS * self._heartbeat_s):
                    await wake.wait()
                wake.clear()
                while arrived and expected:
                    taken, arrived[:AT_ONCE] = arrived[:AT_ONCE], []
                    expected = self._take(taken, expected)
                    if expected and self._is_short():
                        self._seen = begun
                        return
                    await asyncio.sleep(0)  # requests are answered meanwhile
        finally:
            with suppress(nats.errors.Error):  # without a connection
                await subscription.unsubscribe()

    async def _consume(self, inbox: str) -> int:
        """Let NATS send what is new in the bucket; returns how many values that are now."""
        policy, start = DeliverPolicy.LAST_PER_SUBJECT, None
        if self._seen:
            policy, start = DeliverPolicy.BY_START_SEQUENCE, self._seen + 1
        config = ConsumerConfig(
            deliver_subject=inbox,
            deliver_policy=policy,
            opt_start_seq=start,
            filter_subject=f"{BUCKET_SUBJECT}>",
            ack_policy=AckPolicy.NONE,
            idle_heartbeat=self._heartbeat_s,
            inactive_threshold=UNUSED_S,
            mem_storage=True,
            num_replicas=1,
        )
        return (await self._js.add_consumer(BUCKET_STREAM, config)).num_pending or 0

    def _take(self, messages: Sequence[Msg], expected: int) -> int:
        """Apply messages to the tables.

        Args:
            messages: values of the bucket, and heartbeats.
            expected: the number that the next value has, of those for this consumer.

        Returns:
            The same after them; 0 if one is missing.
        """
        entries: list[Entry] = []
        is_missing = is_complete = False
        for message in messages:
            if not message.reply:  # a heartbeat
                last = (message.headers or {}).get(Header.LAST_CONSUMER, "0")
                is_missing = int(last) != expected - 1
                self._quiet += 1
                continue
            place = message.metadata
            is_missing = place.sequence.consumer != expected
            if is_missing:
                break
            try:
                entries += self._entries_in(message)
            except UnreadableValue as error:
                is_missing = self._is_asked_again(message, error)
                if is_missing:
                    break
                self.apply(entries)
                entries = []
                self._forget(message.subject.removeprefix(BUCKET_SUBJECT))
            expected += 1
            self._seen = place.sequence.stream
            self._pending, self._quiet = place.num_pending or 0, 0
            is_complete = is_complete or not self._pending
        if entries:
            self.apply(entries)
        if is_complete:
            self._set_complete()
        return 0 if is_missing else expected

    def _set_complete(self) -> None:
        self._end_loading()
        self._short_since_s = self._unreadable_since_s = None
        self._complete.set()

    def _is_short(self) -> bool:
        """Whether a consumer has sent fewer values than there are, and another is asked.

        A server leaves out what it finds damaged in its file, and doesn't say so.
        """
        if not self._pending or self._quiet < QUIET_HEARTBEATS:
            return False
        since_s = self._short_since_s = self._short_since_s or monotonic()
        if monotonic() - since_s < self._patience_s:
            return True
        values = humanize.pluralize(self._pending, "value")
        log.error("%s of the bucket can't be read on any server: docs/cluster.md", values)
        self._pending = 0
        self._set_complete()
        return False

    def _is_asked_again(self, message: Msg, error: UnreadableValue) -> bool:
        """Whether a value that can't be read is asked for again: until patience is over.

        The next consumer may be on another server. In the end all others' tokens are good.
        """
        name = message.subject.removeprefix(BUCKET_SUBJECT)
        if self._unreadable_since_s is None:
            self._unreadable_since_s = monotonic()
            log.warning("%s: the bucket's value can't be read, asking again: %s", name, error)
        if monotonic() - self._unreadable_since_s < self._patience_s:
            return True
        log.error(
            "%s: the bucket's value can't be read on any server (%s); of a node or a gateway, "
            "tokens and keys are refused until a command changes it, such as `tmon node set`",
            *(name, error),
        )
        return False

    def _entries_in(self, message: Msg) -> Sequence[Entry]:
        """The entries of a value.

        Raises:
            UnreadableValue: what it says isn't known.
        """
        if message.subject != BUCKET_SUBJECT + CHANGE:
            return [decode_value(message.data, Entry)]
        last = decode_value(message.data, LastChange)
        if last.published:  # so its entries came before
            self.complete_change = last.number
        is_known = (last.number, last.author) == self._last_change
        self._last_change = last.number, last.author
        # A device's readings would pass a change that makes its node, and that isn't published.
        return () if is_known else [entry for entry in last.entries if not entry.device]


def _end_process(following: "asyncio.Task[None]") -> None:
    """Without the bucket nobody knows what was revoked."""
    if not following.cancelled():
        log.critical("the bucket of nodes can't be followed", exc_info=following.exception())
        os._exit(1)
