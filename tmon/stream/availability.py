"""Whether a reading would be acknowledged now, also while none comes."""

import asyncio
from collections.abc import Callable
from math import inf

import nats.errors
from nats.aio.client import Client
from nats.js.api import ClusterInfo

from tmon.core.errors import Unavailable
from tmon.stream.messages import PARTITIONS, stream_name

PATIENCE_S = 3.0  # without any acknowledgement; then another server is asked
FRESH_S = 5.0  # what was acknowledged so lately says that all is well
ANSWER_S = 1.0  # for any stream's leader; a connection that breaks is made again meanwhile
# A leader hears each second from its replicas, and they elect another after four without it.
HEARD_NS = 4_000_000_000


class Availability:
    """Knows from the last message how the streams are; if that says too little, asks them.

    Only a stream whose leader hears from a majority takes messages. So the answer comes back to
    yes by itself, without a reading that has to try it.
    """

    def __init__(self, client: Client, clock: Callable[[], float]) -> None:
        self._client = client
        self._clock = clock
        self._acknowledged_s = clock()
        self._failed = True  # the last attempt, or there was none
        self._asked_s = -inf
        self._led: asyncio.Task[bool] | None = None

    def note(self, *, acknowledged: bool) -> None:
        """Note what became of an attempt to publish a message."""
        self._failed = not acknowledged
        if acknowledged:
            self._acknowledged_s = self._clock()

    async def check(self) -> None:
        """Check that at least one stream takes messages.

        Raises:
            Unavailable: none does, as far as this server knows.
        """
        is_fresh = not self._failed and self._clock() - self._acknowledged_s < FRESH_S
        if (is_fresh and self._client.is_connected) or await self._asked():
            return
        await self.leave_server_that_is_alone(-inf)
        raise Unavailable("no stream has a majority of the NATS servers; keep the readings")

    async def leave_server_that_is_alone(self, waiting_since_s: float) -> None:
        """Connect to another server, if this one brings no acknowledgement.

        It may have lost the others, and doesn't say so.
        """
        if self._clock() - max(self._acknowledged_s, waiting_since_s) > PATIENCE_S:
            self._acknowledged_s, self._failed = self._clock(), True
            await self._client.force_reconnect()

    async def _asked(self) -> bool:
        """Whether any stream has a leader; asked once a second at most, whoever wants to know."""
        if self._led is None or self._clock() - self._asked_s > ANSWER_S:
            self._asked_s = self._clock()
            self._led = asyncio.create_task(self._is_any_stream_led())
        return await asyncio.shield(self._led)

    async def _is_any_stream_led(self) -> bool:
        asked = [asyncio.create_task(self._has_leader(stream)) for stream in range(PARTITIONS)]
        try:
            for answer in asyncio.as_completed(asked):
                if await answer:
                    return True
            return False
        finally:
            for task in asked:
                task.cancel()

    async def _has_leader(self, partition: int) -> bool:
        stream = self._client.jetstream(timeout=ANSWER_S)
        try:
            info = await stream.stream_info(stream_name(partition))
        except (nats.errors.Error, OSError, TimeoutError):
            return False
        return info.cluster is None or has_majority(info.cluster)


def has_majority(cluster: ClusterInfo) -> bool:
    """Whether a stream has a leader that has heard from most of its servers lately.

    One that is cut off calls itself leader for up to 16 s more, and one without a leader says so.
    """
    replicas = cluster.replicas or []
    heard = [one for one in replicas if (one.active or 0) < HEARD_NS]
    return bool(cluster.leader) and 2 * (1 + len(heard)) > 1 + len(replicas)
