"""Single values of the bucket ``tmon-nodes``, as the leader of its stream has them.

A leader whose file is damaged says that there is no such value, refuses to replace it, or has an
older one. So whoever knows better lets another server lead.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic
from typing import TypeVar

import nats.errors
from msgspec import Struct
from nats.aio.client import Client
from nats.js.api import Header
from nats.js.errors import BadRequestError, NotFoundError

from tmon.core.errors import TmonError
from tmon.stream.connection import ATTEMPT_S
from tmon.stream.entries import UnreadableValue, decode_value, encode_value
from tmon.stream.streams import BUCKET, BUCKET_LOST, BUCKET_STREAM, NO_STREAM

BUCKET_SUBJECT = f"$KV.{BUCKET}."
ANSWER_S = 15.0  # for NATS, which elects a leader within ten seconds
PAUSE_S = 0.02
LEADER_S = 0.3  # until another one leads
STEP_DOWN = f"$JS.API.STREAM.LEADER.STEPDOWN.{BUCKET_STREAM}"

T = TypeVar("T")
V = TypeVar("V", bound=Struct)


class BucketLost(TmonError):
    """The servers have no bucket."""


class Bucket:
    """Reads and sets values by their names."""

    def __init__(self, client: Client, answer_s: float = ANSWER_S) -> None:
        self._client = client
        self._js = client.jetstream(timeout=ATTEMPT_S)
        self.answer_s = answer_s

    async def get(self, name: str, of: type[V]) -> tuple[V | None, int]:
        """A value and its revision; None and 0 if the leader knows of none.

        Raises:
            UnreadableValue: the leader has something else in its place.
            BucketLost: there is no bucket.
            nats.errors.Error: NATS doesn't answer.
        """
        try:
            found = await self.answered(
                lambda: self._js.get_last_msg(BUCKET_STREAM, BUCKET_SUBJECT + name)
            )
        except NotFoundError as error:
            if error.err_code == NO_STREAM:
                raise BucketLost(BUCKET_LOST) from None
            return None, 0
        revision = found.seq or 0
        try:
            return decode_value(found.data, of), revision
        except UnreadableValue as error:
            error.revision = revision
            raise

    async def set(self, name: str, value: Struct, revision: int) -> int:
        """Set a value whose revision is known, 0 for a new one; returns the next revision.

        Raises:
            BadRequestError: the leader knows of another revision.
            nats.errors.Error: NATS doesn't answer.
        """
        data = encode_value(value)
        headers = {Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(revision)}
        set_ = await self.answered(
            lambda: self._js.publish(BUCKET_SUBJECT + name, data, headers=headers)
        )
        return set_.seq

    async def answered(self, request: Callable[[], Awaitable[T]]) -> T:
        """Repeat a request that can be repeated until NATS answers, while it elects a leader, say.

        Raises:
            nats.errors.Error: it doesn't, or it refuses the request.
        """
        until_s = monotonic() + self.answer_s
        while True:
            try:
                return await request()
            except (BadRequestError, NotFoundError, nats.errors.ConnectionClosedError):
                raise
            except nats.errors.Error:
                if monotonic() > until_s:
                    raise
                await asyncio.sleep(PAUSE_S)

    async def replace_leader(self) -> None:
        """Let another server lead, if there is another one."""
        with suppress(nats.errors.Error):  # then it is asked again
            await self._client.request(STEP_DOWN, b"", timeout=ATTEMPT_S)
        await asyncio.sleep(LEADER_S)
