"""The streams of a station on several machines, as the servers know them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from math import inf
from time import monotonic
from typing import TypeVar

import nats.errors
from msgspec import Struct
from nats.aio.client import Client
from nats.js import JetStreamContext, api
from nats.js.errors import NotFoundError, ServiceUnavailableError

from tmon.stream.connection import ANSWER_S, ATTEMPT_S, RETRY_S, CannotConnect, describe
from tmon.stream.messages import PARTITIONS, stream_name, subject

BUCKET = "tmon-nodes"
BUCKET_STREAM = f"KV_{BUCKET}"  # in which NATS keeps it
BUCKET_LOST = f"the bucket {BUCKET} was deleted: docs/cluster.md says how to begin again"
NO_STREAM = 10059  # the servers' code; other things may not be found either
_SNAPSHOT, _EMPTY = "tmon-snapshot", "tmon-empty"
_SENSORS, _REJECTED, _NODES = "tmon-sensors", "tmon-rejected", "tmon-digest"

T = TypeVar("T")


class NoStreams(CannotConnect):
    """The servers have no streams of tmon, or not all."""


class NoAnswer(CannotConnect):
    """The servers don't say how the streams are; soon they may."""


class Snapshot(Struct, frozen=True):
    """The file with which a cluster began: an id, and the largest ids in it.

    ``is_empty``: it had no node, so that a new machine can begin with an empty file.
    ``nodes``: a digest of its nodes, so that no other file is taken for it.
    """

    id: str
    largest_sensor: int
    largest_rejected: int
    is_empty: bool
    nodes: str

    def as_metadata(self) -> dict[str, str]:
        return {
            _SNAPSHOT: self.id,
            _SENSORS: str(self.largest_sensor),
            _REJECTED: str(self.largest_rejected),
            _EMPTY: "yes" if self.is_empty else "no",
            _NODES: self.nodes,
        }

    @classmethod
    def from_metadata(cls, data: dict[str, str]) -> "Snapshot":
        return cls(
            data.get(_SNAPSHOT, ""),
            int(data.get(_SENSORS, "0")),
            int(data.get(_REJECTED, "0")),
            data.get(_EMPTY) == "yes",
            data.get(_NODES, ""),
        )


class StreamState(Struct, frozen=True):
    """One partition's stream as the servers know it."""

    partition: int
    created: str
    snapshot: Snapshot
    first: int  # sequence of the first message that is kept; last + 1 if none is
    last: int
    bytes: int
    max_bytes: int
    max_age_s: float
    replicas: int
    leader: str | None
    behind: tuple[str, ...]  # replicas that aren't current

    @property
    def has_leader(self) -> bool:
        """Without one it takes no messages: most of its servers are missing."""
        return bool(self.leader) or self.replicas == 1


async def state_of(stream: JetStreamContext, partition: int) -> StreamState | None:
    """One stream as it is; None if there is none.

    Raises:
        NoAnswer: not now.
        CannotConnect: an error.
    """
    try:
        with _errors_described():
            info = await stream.stream_info(stream_name(partition))
    except NotFoundError:
        return None
    config, state = info.config, info.state
    return StreamState(
        partition,
        str(info.created),
        Snapshot.from_metadata(config.metadata or {}),
        first=max(state.first_seq, 1),
        last=state.last_seq,
        bytes=state.bytes,
        max_bytes=config.max_bytes or -1,
        max_age_s=config.max_age or 0,
        replicas=config.num_replicas or 1,
        leader=info.cluster.leader if info.cluster else None,
        behind=behind(info),
    )


def behind(info: api.StreamInfo) -> tuple[str, ...]:
    """The names of the servers that don't have all of a stream."""
    replicas = (info.cluster and info.cluster.replicas) or ()
    return tuple(one.name or "?" for one in replicas if one.offline or not one.current)


@contextmanager
def _errors_described() -> Iterator[None]:
    try:
        yield
    except NotFoundError:
        raise
    except (TimeoutError, ServiceUnavailableError) as error:
        raise NoAnswer(f"the NATS servers: {describe(error)}") from None
    except (nats.errors.Error, OSError) as error:
        raise CannotConnect(f"the NATS servers: {describe(error)}") from None


async def existing_states(client: Client) -> list[StreamState]:
    """The streams that there are.

    Raises:
        CannotConnect: no answer.
    """
    stream = client.jetstream(timeout=ANSWER_S)
    states = await asyncio.gather(*(state_of(stream, one) for one in range(PARTITIONS)))
    return [state for state in states if state is not None]


async def all_states(client: Client) -> list[StreamState]:
    """All streams of the cluster.

    Raises:
        CannotConnect: no answer, or one is missing.
    """
    found = await existing_states(client)
    _check_all([state.partition for state in found])
    return found


async def check_existence(client: Client) -> None:
    """Check that all streams are there. One that has no leader now is there, too.

    Raises:
        NoAnswer: the servers have no leader of their own now.
        CannotConnect: one is missing.
    """
    stream = client.jetstream(timeout=ATTEMPT_S)

    async def exists(partition: int) -> bool:
        try:
            with _errors_described():
                return bool(await stream.find_stream_name_by_subject(subject(partition)))
        except NotFoundError:
            return False

    exist = await asyncio.gather(*map(exists, range(PARTITIONS)))
    _check_all([partition for partition, there in enumerate(exist) if there])


def _check_all(partitions: Sequence[int]) -> None:
    if partitions and len(partitions) < PARTITIONS:
        lost = min({*range(PARTITIONS)} - {*partitions})
        raise CannotConnect(
            f"{stream_name(lost)} was deleted: docs/cluster.md says how to begin again"
        )
    if not partitions:
        raise NoStreams(
            "the NATS servers have no streams of tmon: `tmon stream create` makes them, on the "
            "machine whose file the cluster begins with"
        )


async def awaited(question: Callable[[], Awaitable[T]], name: str, patience_s: float = inf) -> T:
    """What a question about the streams finds, once there is an answer.

    After servers were down they first elect a leader.

    Raises:
        NoAnswer: it takes too long.
    """
    log = logging.getLogger(f"tmon.{name}")
    until_s = monotonic() + patience_s
    is_told = False
    while True:
        try:
            return await question()
        except NoAnswer as error:
            if monotonic() > until_s:
                raise
            if not is_told:
                log.warning("waiting for the streams: %s", error)
            is_told = True
            await asyncio.sleep(RETRY_S)


def one_snapshot(states: Sequence[StreamState]) -> Snapshot:
    """The snapshot of which all streams are.

    Raises:
        CannotConnect: they are of several.
    """
    snapshot, *others = {state.snapshot for state in states}
    if others:
        raise CannotConnect("the streams are of several stations: `tmon stream status` shows them")
    return snapshot
