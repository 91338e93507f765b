"""The file with which a cluster begins."""

from pathlib import Path
from secrets import token_hex

from nats.aio.client import Client
from sqlite_utils import Database

from tmon.core.errors import TmonError
from tmon.db.connect import transaction
from tmon.db.device_decisions import all_beside
from tmon.stream.directory import fill_bucket
from tmon.stream.positions import first_positions, read_positions, write_positions
from tmon.stream.streams import Options, Snapshot, StreamState, create, existing_states


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
    await fill_bucket(client, db, all_beside(path))
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
