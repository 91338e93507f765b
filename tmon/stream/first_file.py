"""The file with which a cluster begins."""

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from hashlib import sha256
from itertools import chain, islice
from pathlib import Path
from secrets import token_hex
from typing import Any

from nats.aio.client import Client
from sqlite_utils import Database

from tmon.core.errors import TmonError
from tmon.db.connect import transaction
from tmon.db.device_decisions import Decision, all_beside
from tmon.db.job_runs import COMPARISON
from tmon.stream.bucket import BUCKET_SUBJECT
from tmon.stream.change_log import CHANGE, LastChange
from tmon.stream.connection import ANSWER_S, CannotConnect
from tmon.stream.entries import Entry, all_entries, encode_value, of_device
from tmon.stream.positions import first_positions, read_positions, write_positions
from tmon.stream.stream_config import Options, create
from tmon.stream.streams import Snapshot, StreamState, existing_states

AT_ONCE = 1_000  # values of the bucket: NATS takes no more as one
AT_ONCE_S = 30.0  # until they are on the servers' disks


class InCluster(TmonError):
    """The file belongs to a cluster already."""


class Unread(TmonError):
    """The streams hold what this file lacks."""


class OthersStreams(TmonError):
    """The streams began with another file."""


async def refuse_unread(db: Database, client: Client) -> None:
    """Refuse to go on if the streams hold messages that this file lacks.

    Raises:
        Unread: they do.
        CannotConnect: the servers don't answer.
    """
    stored = {(one.snapshot, one.created): one.sequence for one in read_positions(db)}
    lacks = sum(
        one.last - stored.get((one.snapshot.id, one.created), 0)
        for one in await existing_states(client)
    )
    if lacks > 0:
        raise Unread(
            f"the streams hold {lacks:,} messages that this file lacks: let `tmon sink` store "
            "them first, or lose them by --force"
        )


async def refuse_others(db: Database, client: Client) -> None:
    """Refuse to go on if the streams began with another file.

    Raises:
        OthersStreams: they did.
        CannotConnect: the servers don't answer.
    """
    ours = {one.snapshot for one in read_positions(db)}
    if any(one.snapshot.id not in ours for one in await existing_states(client)):
        raise OthersStreams(
            "the streams are another station's, or of an earlier try: leave --again out to go on "
            "with that; --force removes them, whoever's they are"
        )


def leave_cluster(db: Database) -> None:
    """Let a file be of no cluster: of one machine again, or the first of another cluster."""
    with transaction(db):
        db.execute("delete from stream_positions")
        # Else T29 stays: nothing compares it with the others any more.
        db.execute("delete from chores where name = ?", [COMPARISON])


async def begin_cluster(
    db: Database,
    path: Path,
    client: Client,
    options: Options,
    progress: Callable[[int], Any] = nullcontext,
) -> list[StreamState]:
    """Create the streams of a cluster that begins with this file; it must not change meanwhile.

    What was decided about gateways' devices is in another file beside its ``path``.

    Args:
        db: the file.
        path: of it.
        client: of the servers.
        options: for the streams.
        progress: makes something to tell how many of how many values are in the bucket.

    Raises:
        InCluster: it belongs to one already.
        StreamsExist, CannotConnect: the streams can't be created.
    """
    if read_positions(db):
        raise InCluster(
            "this file belongs to a cluster already; `tmon stream status` shows it. If its "
            "streams are lost, --again begins anew with this file: docs/cluster.md"
        )
    snapshot = snapshot_of(db)
    states = await create(client, snapshot, options)
    made = states[0].snapshot  # an earlier try may have made them
    decisions = all_beside(path)
    count = int(db.execute("select count(*) from nodes").fetchone()[0]) + len(decisions)
    with progress(count) as bar:
        await _fill_bucket(client, db, decisions, bar)
    with transaction(db):
        write_positions(
            db,
            first_positions(
                *(made.id, made.largest_sensor, made.largest_rejected),
                [state.created for state in states],
            ),
        )
    return states


def snapshot_of(db: Database) -> Snapshot:
    """What the streams are told of a file."""

    def largest(table: str) -> int:
        return int(db.execute(f"select coalesce(max(id), 0) from {table}").fetchone()[0])

    uids = "\n".join(uid for (uid,) in db.execute("select uid from nodes order by uid"))
    digest = sha256(uids.encode()).hexdigest()[:16]
    return Snapshot(token_hex(8), largest("sensors"), largest("rejected"), not uids, digest)


async def _fill_bucket(
    client: Client, db: Database, decisions: Iterable[Decision], bar: Any
) -> None:
    """Put the nodes, keys and devices with which a cluster begins into the empty bucket.

    Raises:
        nats.errors.Error: NATS doesn't answer.
    """
    entries = chain(all_entries(db, 0), (of_device(one, 0) for one in decisions))
    while some := [*islice(entries, AT_ONCE)]:
        await put_together(client, some)
        if bar:
            bar.update(len(some))
    # Last of all: without it no command changes anything.
    js = client.jetstream(timeout=ANSWER_S)
    await js.publish(BUCKET_SUBJECT + CHANGE, encode_value(LastChange()))


async def put_together(client: Client, entries: Sequence[Entry]) -> None:
    """Put entries into the bucket, all or none: the disks are waited for once.

    NATS calls this an atomic batch publish (its ADR-50).
    """
    batch, last = token_hex(8), len(entries)
    for number, entry in enumerate(entries, 1):
        name, value = BUCKET_SUBJECT + entry.name, encode_value(entry)
        headers = {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
        if number < last:
            await client.publish(name, value, headers=headers)
            continue
        headers["Nats-Batch-Commit"] = "1"
        answer = await client.request(name, value, timeout=AT_ONCE_S, headers=headers)
        if error := json.loads(answer.data).get("error"):
            raise CannotConnect(f"the NATS servers: {error.get('description')}")
