"""How the servers keep the streams: create them, change that, remove them."""

import asyncio
from collections.abc import Awaitable

import nats.errors
from msgspec import Struct
from msgspec.structs import replace
from nats.aio.client import Client
from nats.js import api
from nats.js.errors import APIError, NotFoundError

from tmon.core.errors import TmonError
from tmon.stream.connection import ANSWER_S, CannotConnect, describe
from tmon.stream.messages import MESSAGE_BYTES, PARTITIONS, stream_name, subject
from tmon.stream.streams import (
    BUCKET,
    BUCKET_STREAM,
    Snapshot,
    StreamState,
    all_states,
    existing_states,
)

HEADER_BYTES = 1_000  # of a message, which count too
# Ingest tries the same message again for four seconds (publisher.py).
DUPLICATE_WINDOW_S = 30
DAYS = 7
GIGABYTES = 32
GIGABYTE = 1_000_000_000
DAY_S = 86_400


class StreamsExist(TmonError):
    """There are streams of another station already."""


class Options(Struct, frozen=True):
    """How the servers keep the streams."""

    replicas: int
    days: int = DAYS
    gigabytes: float = GIGABYTES


async def create(client: Client, snapshot: Snapshot, options: Options) -> list[StreamState]:
    """Create the streams of a cluster, and the bucket of its nodes.

    Raises:
        StreamsExist: another station's are there.
        CannotConnect: the servers can't have them.
    """
    stream = client.jetstream(timeout=ANSWER_S)
    existing = {state.partition: state for state in await existing_states(client)}
    for state in existing.values():
        # An earlier try for this file may have ended half-way.
        if state.last or replace(state.snapshot, id=snapshot.id) != snapshot:
            raise StreamsExist(
                f"the stream {stream_name(state.partition)} exists already: another machine joins "
                "by a backup of the first one's file (docs/cluster.md)"
            )
        snapshot = state.snapshot
    missing = {*range(PARTITIONS)} - existing.keys()
    configs = [_config(partition, snapshot, options) for partition in missing]
    configs.append(_bucket_config(options.replicas))
    await asyncio.gather(*(_done(stream.add_stream(one), options.replicas) for one in configs))
    return await all_states(client)


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


def _bucket_config(replicas: int) -> api.StreamConfig:
    """The stream that is a bucket of NATS', which takes many values as one message."""
    return api.StreamConfig(
        name=BUCKET_STREAM,
        subjects=[f"$KV.{BUCKET}.>"],
        storage=api.StorageType.FILE,
        num_replicas=replicas,
        max_msgs_per_subject=1,
        discard=api.DiscardPolicy.NEW,
        deny_delete=True,
        allow_atomic=True,
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
