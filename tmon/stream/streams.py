"""The streams of a station on several machines: create them, and say how they are."""

import asyncio
import logging
from collections.abc import Awaitable, Sequence

import nats.errors
from msgspec import Struct
from msgspec.structs import replace
from nats.aio.client import Client
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError

from tmon.core.errors import TmonError
from tmon.stream.connection import ANSWER_S, RETRY_S, CannotConnect, describe
from tmon.stream.messages import MESSAGE_BYTES, PARTITIONS, stream_name, subject

BUCKET = "tmon-nodes"
BUCKET_STREAM = f"KV_{BUCKET}"  # in which NATS keeps it
BUCKET_LOST = f"the bucket {BUCKET} was deleted: docs/cluster.md says how to begin again"
HEADER_BYTES = 1_000  # of a message, which count too
# Ingest tries the same message again for five seconds (publisher.py).
DUPLICATE_WINDOW_S = 30
DAYS = 7
GIGABYTES = 32
GIGABYTE = 1_000_000_000
DAY_S = 86_400
_SNAPSHOT, _EMPTY = "tmon-snapshot", "tmon-empty"
_SENSORS, _REJECTED = "tmon-sensors", "tmon-rejected"


class StreamsExist(TmonError):
    """There are streams of another station already."""


class NoStreams(CannotConnect):
    """The servers have no streams of tmon, or not all."""


class NoAnswer(CannotConnect):
    """The servers don't say how the streams are; soon they may."""


class Snapshot(Struct, frozen=True):
    """The file with which a cluster began: an id, and the largest ids in it.

    ``is_empty``: it had no node, so that a new machine can begin with an empty file.
    """

    id: str
    largest_sensor: int
    largest_rejected: int
    is_empty: bool

    def as_metadata(self) -> dict[str, str]:
        return {
            _SNAPSHOT: self.id,
            _SENSORS: str(self.largest_sensor),
            _REJECTED: str(self.largest_rejected),
            _EMPTY: "yes" if self.is_empty else "no",
        }

    @classmethod
    def from_metadata(cls, data: dict[str, str]) -> "Snapshot":
        return cls(
            data.get(_SNAPSHOT, ""),
            int(data.get(_SENSORS, "0")),
            int(data.get(_REJECTED, "0")),
            data.get(_EMPTY) == "yes",
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


async def create(client: Client, snapshot: Snapshot, options: "Options") -> list[StreamState]:
    """Create the streams of a cluster, and the bucket of its nodes.

    Raises:
        StreamsExist: another station's are there.
        CannotConnect: the servers can't have them.
    """
    stream = client.jetstream(timeout=ANSWER_S)
    existing = {one: await state_of(stream, one) for one in range(PARTITIONS)}
    for state in existing.values():
        if state is None:
            continue
        # An earlier try for this file may have ended half-way.
        if state.last or replace(state.snapshot, id=snapshot.id) != snapshot:
            raise StreamsExist(
                f"the stream {stream_name(state.partition)} exists already: another machine joins "
                "by a backup of the first one's file (docs/cluster.md)"
            )
        snapshot = state.snapshot
    for partition in [one for one, state in existing.items() if state is None]:
        await _done(stream.add_stream(_config(partition, snapshot, options)), options.replicas)
    bucket = api.KeyValueConfig(
        bucket=BUCKET, history=1, storage=api.StorageType.FILE, replicas=options.replicas
    )
    await _done(stream.create_key_value(bucket), options.replicas)
    return await all_states(client)


class Options(Struct, frozen=True):
    """How the servers keep the streams."""

    replicas: int
    days: int = DAYS
    gigabytes: float = GIGABYTES


def _config(partition: int, snapshot: Snapshot, options: Options) -> api.StreamConfig:
    return api.StreamConfig(
        name=stream_name(partition),
        subjects=[subject(partition)],
        storage=api.StorageType.FILE,
        num_replicas=options.replicas,
        max_age=options.days * DAY_S,
        max_bytes=int(options.gigabytes * GIGABYTE / PARTITIONS),
        # When it is full, ingest refuses: what no sink has read must not vanish.
        discard=api.DiscardPolicy.NEW,
        max_msg_size=MESSAGE_BYTES + HEADER_BYTES,
        duplicate_window=DUPLICATE_WINDOW_S,
        deny_delete=True,
        deny_purge=True,
        metadata=snapshot.as_metadata(),
    )


async def _done(request: Awaitable[object], replicas: int) -> None:
    try:
        await request
    except APIError as error:
        hints = {
            10005: f"--replicas {replicas} needs as many servers, and they must be up",
            10074: "the server is alone: --replicas 1, or make a cluster of three",
            10023: "make `max_file_store` of the servers larger, or give fewer --gigabytes",
            10047: "make `max_file_store` of the servers larger, or give fewer --gigabytes",
        }
        hint = hints.get(error.err_code or 0)
        text = f"the NATS servers can't keep the streams: {error.description}"
        raise CannotConnect(f"{text}; {hint}" if hint else text) from None


async def state_of(stream: JetStreamContext, partition: int) -> StreamState | None:
    """One stream as it is; None if there is none.

    Raises:
        NoAnswer: not now.
        CannotConnect: an error.
    """
    try:
        info = await stream.stream_info(stream_name(partition))
    except NotFoundError:
        return None
    except (TimeoutError, ServiceUnavailableError) as error:
        raise NoAnswer(f"the NATS servers: {describe(error)}") from None
    except (nats.errors.Error, OSError) as error:
        raise CannotConnect(f"the NATS servers: {describe(error)}") from None
    cluster = info.cluster or api.ClusterInfo()
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
        leader=cluster.leader,
        behind=tuple(
            one.name or "?" for one in cluster.replicas or () if one.offline or not one.current
        ),
    )


async def existing_states(client: Client) -> list[StreamState]:
    """The streams that there are.

    Raises:
        CannotConnect: no answer.
    """
    stream = client.jetstream(timeout=ANSWER_S)
    states = await asyncio.gather(*(state_of(stream, one) for one in range(PARTITIONS)))
    return [state for state in states if state is not None]


async def remove(client: Client) -> None:
    """Remove the streams and the bucket, whichever are there.

    Raises:
        CannotConnect: the servers don't answer.
    """
    stream = client.jetstream(timeout=ANSWER_S)
    for name in (BUCKET_STREAM, *map(stream_name, range(PARTITIONS))):
        try:
            await stream.delete_stream(name)
        except NotFoundError:
            continue
        except (nats.errors.Error, OSError) as error:
            raise CannotConnect(f"the NATS servers: {describe(error)}") from None


async def change(client: Client, replicas: int, days: int, gigabytes: float) -> None:
    """Change how the servers keep the streams that there are; 0 for what stays.

    Raises:
        CannotConnect: they can't, or don't answer.
    """
    stream = client.jetstream(timeout=ANSWER_S)
    await all_states(client)
    for name in (*map(stream_name, range(PARTITIONS)), BUCKET_STREAM):
        config = (await stream.stream_info(name)).config
        config.num_replicas = replicas or config.num_replicas
        if name.startswith("tmon"):
            config.max_age = days * DAY_S or config.max_age
            config.max_bytes = int(gigabytes * GIGABYTE / PARTITIONS) or config.max_bytes
        await _done(stream.update_stream(config), config.num_replicas or 1)


async def all_states(client: Client) -> list[StreamState]:
    """All streams of the cluster.

    Raises:
        CannotConnect: no answer, or one is missing.
    """
    found = await existing_states(client)
    if found and len(found) < PARTITIONS:
        lost = min({*range(PARTITIONS)} - {state.partition for state in found})
        raise CannotConnect(
            f"{stream_name(lost)} was deleted: docs/cluster.md says how to begin again"
        )
    if not found:
        raise NoStreams(
            "the NATS servers have no streams of tmon: `tmon stream create` makes them, on the "
            "machine whose file the cluster begins with"
        )
    return found


async def awaited_states(client: Client, name: str) -> list[StreamState]:
    """All streams, however long it takes until the servers can say how they are.

    After all were down they first elect a leader.

    Raises:
        CannotConnect: one is missing.
    """
    log = logging.getLogger(f"tmon.{name}")
    is_told = False
    while True:
        try:
            return await all_states(client)
        except NoAnswer as error:
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
