"""The nodes, keys and devices that ingest knows: those of the bucket ``tmon-nodes``, in memory."""

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from datetime import datetime
from time import monotonic
from typing import NamedTuple

import nats.errors
from nats.js.errors import NotFoundError

from tmon.core import humanize
from tmon.core.settings import Settings
from tmon.core.tasks import end
from tmon.db.device_decisions import Decision
from tmon.stream.change_log import CHANGE, ChangeLog, LastChange
from tmon.stream.connection import connect
from tmon.stream.directory_tables import DirectoryTables
from tmon.stream.entries import Entry, UnreadableValue, decode_value
from tmon.stream.feed import RETRY_S, Feed, Value
from tmon.stream.streams import BUCKET_LOST, NO_STREAM
from tmon.stream.trouble import Trouble

HEARTBEAT_S = 1.0
PATIENCE_S = 10.0  # with what one server hasn't whole: another may have it
SERVERS = 2  # that are read: of three, two have what a majority has

log = logging.getLogger("tmon.directory")


class _Unreadable(NamedTuple):
    revision: int
    since_s: float
    reason: str


class Directory(DirectoryTables):
    """Follows the bucket on two servers; of two values of a name the later one counts.

    So it makes no difference if one of them has lost a value, has an older one or is silent.
    While NATS is away, the tables stay as they are.
    """

    def __init__(self, heartbeat_s: float = HEARTBEAT_S, patience_s: float = PATIENCE_S) -> None:
        super().__init__()
        self._heartbeat_s = heartbeat_s
        self._patience_s = patience_s
        self.complete_change = 0  # the last change of which all entries are here
        self._created: datetime | None = None  # when the bucket was made
        self._last_change = (0, "")
        self._last_revision = 0  # of that
        self._unreadable: dict[str, _Unreadable] = {}  # values that no server has given whole yet
        self._feeds: list[Feed] = []
        self._waiting_since_s: float | None = None  # for a server, while another is through
        self._through = asyncio.Event()  # a server has sent what there was
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
        self._on_change = on_change
        self._on_decisions = on_decisions
        for _ in range(SERVERS):
            self._feeds.append(
                Feed(self._client, self._feeds, self._heartbeat_s, self._begin, self._take)
            )
        # No TaskGroup: it cancels its tasks once, which they may swallow.
        self._following = [asyncio.create_task(self._follow(feed)) for feed in self._feeds]
        for task in self._following:
            task.add_done_callback(_end_process)
        await self._complete.wait()

    async def close(self) -> None:
        """Follow the bucket no longer."""
        await end(self._following)
        await self._client.close()

    def change_log(self) -> ChangeLog:
        """To make a change by the same connection."""
        return ChangeLog(self._client)

    async def _follow(self, feed: Feed) -> None:
        """Until cancelled."""
        if feed is not self._feeds[0]:
            await self._through.wait()  # one at a time: else pings wait behind all of it
        while True:
            try:
                await feed.follow()
            except NotFoundError as error:
                if error.err_code == NO_STREAM:
                    self._trouble.begin(0, BUCKET_LOST)
            except (nats.errors.Error, OSError) as error:
                log.info("the bucket of nodes can't be read now: %s", error)
            await asyncio.sleep(RETRY_S)

    def _take(self, feed: Feed, values: Sequence[Value]) -> None:
        """Apply what a server has sent to the tables; none at its heartbeats."""
        self._trouble.end(0)
        if feed.created != self._created:
            return  # of a bucket that was deleted
        entries: list[tuple[int, Entry]] = []
        for value in values:
            try:
                entries += self._entries_in(value)
            except UnreadableValue as error:
                self._wait_for_another(value, error)
        if entries:
            self.apply(entries)
        self._look()

    def _begin(self, created: datetime) -> None:
        """Know nothing, unless it is of this bucket: else another was deleted."""
        if created == self._created:
            return
        self._created = created
        for feed in self._feeds:
            if feed.created != created:
                feed.begin_anew()
        self._last_change, self._last_revision, self.complete_change = (0, ""), 0, 0
        self._unreadable.clear()
        self._empty()

    def _entries_in(self, value: Value) -> Sequence[tuple[int, Entry]]:
        """The entries of a value, with the revisions that they count as.

        Raises:
            UnreadableValue: what it says isn't known.
        """
        waiting = self._unreadable.get(value.name)
        if value.name != CHANGE:
            entries = [(value.revision, decode_value(value.data, Entry))]
        else:
            entries = self._entries_of(decode_value(value.data, LastChange), value.revision)
        if waiting and value.revision >= waiting.revision:
            del self._unreadable[value.name]
        return entries

    def _entries_of(self, last: LastChange, revision: int) -> list[tuple[int, Entry]]:
        """The entries of the last change, if that is a later one."""
        if revision <= self._last_revision:
            return []
        self._last_revision = revision
        if last.published:  # so its entries came before
            self.complete_change = last.number
        is_known = (last.number, last.author) == self._last_change
        self._last_change = last.number, last.author
        # A device's readings would pass a change that makes its node, and that isn't published.
        entries = () if is_known else last.entries
        return [(revision, entry) for entry in entries if not entry.device]

    def _wait_for_another(self, value: Value, error: UnreadableValue) -> None:
        """Wait until another server sends a value that can't be read, unless one has."""
        known = self._last_revision if value.name == CHANGE else self.revision_of(value.name)
        if value.revision <= known:
            return
        before = self._unreadable.get(value.name)
        if before is None:
            log.warning("%s: the bucket's value can't be read, asking again: %s", value.name, error)
        since_s = before.since_s if before else monotonic()
        self._unreadable[value.name] = _Unreadable(value.revision, since_s, str(error))

    def _look(self) -> None:
        """Note whether all is known; what no server sends in time isn't waited for."""
        now_s = monotonic()
        for name, value in [*self._unreadable.items()]:
            if now_s - value.since_s > self._patience_s:
                self._give_up(name, value)
        if any(feed.is_complete or feed.is_short for feed in self._feeds):
            self._through.set()
        waiting = [feed for feed in self._feeds if feed.is_short or not feed.is_complete]
        if not waiting:
            self._waiting_since_s = None
        elif self._through.is_set():
            self._waiting_since_s = self._waiting_since_s or now_s
        since_s = self._waiting_since_s
        if since_s is not None and now_s - since_s > self._patience_s:
            self._go_on_without([feed for feed in waiting if feed.is_short])
            waiting = [] if any(map(_is_whole, self._feeds)) else waiting
        if all(feed.is_complete for feed in waiting) and not self._unreadable:
            self._end_loading()
            self._complete.set()

    def _go_on_without(self, short: Sequence[Feed]) -> None:
        """Go on, although some servers haven't sent all that they should have."""
        for feed in short:
            feed.give_up()
            lost = humanize.pluralize(feed.lost, "value")
            if any(map(_is_whole, self._feeds)):
                text = "the NATS server %s has lost %s of the bucket, another is used: %s"
                log.warning(text, feed.server, lost, "docs/cluster.md")
            elif all(one.lost for one in self._feeds):
                log.error("%s of the bucket can't be read on any server: docs/cluster.md", lost)

    def _give_up(self, name: str, value: _Unreadable) -> None:
        """Use nothing of what a value is of. In the end all others' tokens are good."""
        del self._unreadable[name]
        self.forget(name, value.revision)
        log.error(
            "%s: the bucket's value can't be read on any server (%s); of a node or a gateway, "
            "tokens and keys are refused until a command changes it, such as `tmon node set`",
            *(name, value.reason),
        )


def _is_whole(feed: Feed) -> bool:
    """Whether a server has sent all that it should have."""
    return feed.is_complete and not feed.lost


def _end_process(following: "asyncio.Task[None]") -> None:
    """Without the bucket nobody knows what was revoked."""
    if not following.cancelled():
        log.critical("the bucket of nodes can't be followed", exc_info=following.exception())
        os._exit(1)
