"""The file with which a cluster begins."""

import asyncio
from collections.abc import Iterable
from itertools import chain, islice
from pathlib import Path
from secrets import token_hex

from nats.aio.client import Client
from sqlite_utils import Database

from tmon.core.errors import TmonError
from tmon.db.connect import transaction
from tmon.db.device_decisions import Decision, all_beside
from tmon.db.job_runs import COMPARISON
from tmon.stream.change_log import BUCKET_SUBJECT, CHANGE, LastChange
from tmon.stream.connection import ANSWER_S
from tmon.stream.entries import all_entries, encode_value, of_device
from tmon.stream.positions import first_positions, read_positions, write_positions
from tmon.stream.stream_config import Options, create
from tmon.stream.streams import Snapshot, StreamState, existing_states

AT_ONCE = 1_000  # values of the bucket


class InCluster(TmonError):
    """The file belongs to a cluster already."""


class Unread(TmonError):
    """The streams hold what this file lacks."""


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


def leave_cluster(db: Database) -> None:
    """Let a file be of no cluster: of one machine again, or the first of another cluster."""
    with transaction(db):
        db.execute("delete from stream_positions")
        # Else T29 stays: nothing compares it with the others any more.
        db.execute("delete from chores where name = ?", [COMPARISON])


async def begin_cluster(
    db: Database, path: Path, client: Client, options: Options
) -> list[StreamState]:
    """Create the streams of a cluster that begins with this file; it must not change meanwhile.

    What was decided about gateways' devices is in another file beside its ``path``.

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
    await _fill_bucket(client, db, all_beside(path))
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

    is_empty = not db.execute("select 1 from nodes limit 1").fetchone()
    return Snapshot(token_hex(8), largest("sensors"), largest("rejected"), is_empty)


async def _fill_bucket(client: Client, db: Database, decisions: Iterable[Decision]) -> None:
    """Put the nodes, keys and devices with which a cluster begins into the empty bucket.

    Raises:
        nats.errors.Error: NATS doesn't answer.
    """
    js = client.jetstream(timeout=ANSWER_S)
    entries = chain(all_entries(db, 0), (of_device(one, 0) for one in decisions))
    while some := [*islice(entries, AT_ONCE)]:
        published = [
            await js.publish_async(BUCKET_SUBJECT + entry.name, encode_value(entry))
            for entry in some
        ]
        await asyncio.wait_for(asyncio.gather(*published), ANSWER_S)
    # Last of all: without it no command changes anything.
    await js.publish(BUCKET_SUBJECT + CHANGE, encode_value(LastChange()))
