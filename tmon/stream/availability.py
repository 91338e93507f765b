"""Whether a reading would be acknowledged now, also while none comes."""

import asyncio
from collections.abc import Callable
from math import inf

import nats.errors
from nats.aio.client import Client

from tmon.stream.messages import PARTITIONS, stream_name

FRESH_S = 5.0  # what was acknowledged so lately says that all is well
ANSWER_S = 1.0  # for any stream's leader; a connection that breaks is made again meanwhile


class Availability:
    """Knows from the last message how the streams are; if that says too little, asks them.

    Only a stream that has a majority has a leader; one that lost it steps down within some ten
    seconds. So the answer comes back to yes by itself, without a reading that has to try it.
    """

    def __init__(self, client: Client, clock: Callable[[], float]) -> None:
        self._client = client
        self._clock = clock
        self._acknowledged_s = -inf

    def note(self, *, acknowledged: bool) -> None:
        """Note what became of an attempt to publish a message."""
        self._acknowledged_s = self._clock() if acknowledged else -inf

    async def ask(self) -> bool:
        """Whether at least one stream takes messages."""
        is_fresh = self._clock() - self._acknowledged_s < FRESH_S
        if is_fresh and self._client.is_connected:
            return True
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
        # A server that is alone answers for the leader, once it has noticed that there is none.
        return info.cluster is None or bool(info.cluster.leader)
