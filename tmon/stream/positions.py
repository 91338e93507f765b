"""A file's place in the streams: how far each partition is stored, and its next ids."""

from collections.abc import Sequence

import msgspec
from msgspec import Struct
from sqlite_utils import Database

from tmon.core.reading import Node
from tmon.store.ids import REJECTED_KEPT, Ids
from tmon.stream.messages import PARTITIONS, partition_of

_COLUMNS = (
    *("partition", "snapshot", "created", "sequence", "last_seen_sequence", "change"),
    *("next_sensor", "next_rejected"),
)


class Position(Struct):
    """One partition's row.

    ``snapshot`` is the id of the file with which the cluster began, ``created`` when the stream
    was created. ``sequence`` is of the last message that is stored, ``change`` the number of the
    last change among them. Up to ``last_seen_sequence`` it is written when nodes were last heard.
    """

    partition: int
    snapshot: str
    created: str
    sequence: int
    last_seen_sequence: int
    change: int
    next_sensor: int
    next_rejected: int


def read_positions(db: Database) -> list[Position]:
    """The positions by partition; none, if the file isn't a cluster's."""
    query = f"select {', '.join(_COLUMNS)} from stream_positions order by partition"
    return [Position(*row) for row in db.execute(query)]


def newest_change(positions: Sequence[Position]) -> int:
    """The number of the last of the owner's changes that is stored; 0 if none is."""
    return max((position.change for position in positions), default=0)


def write_positions(db: Database, positions: Sequence[Position]) -> None:
    """Write some positions, in the caller's transaction."""
    db.conn.executemany(
        f"insert or replace into stream_positions ({', '.join(_COLUMNS)})"
        f" values ({', '.join('?' * len(_COLUMNS))})",
        [msgspec.structs.astuple(position) for position in positions],
    )


def first_positions(
    snapshot: str, largest_sensor: int, largest_rejected: int, created: Sequence[str]
) -> list[Position]:
    """Those of a file with which a cluster begins.

    Args:
        snapshot: the id of that file.
        largest_sensor: the largest id in it.
        largest_rejected: the same of ``rejected``.
        created: when each partition's stream was created.
    """
    return [
        Position(
            *(partition, snapshot, at, 0, 0, 0),
            largest_sensor + partition + 1,
            largest_rejected + partition + 1,
        )
        for partition, at in enumerate(created)
    ]


class Positions(Ids):
    """Owns the positions of a file that is open for writing; gives ids that leave room for others.

    They are right from ``load``, at the begin of a transaction, until its end.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self.load()

    def load(self) -> None:
        """Read them, as the file has them."""
        self.all = read_positions(self._db)
        self._changed: set[int] = set()

    def save(self) -> None:
        """Write what has changed, in the caller's transaction."""
        write_positions(self._db, [self.all[partition] for partition in sorted(self._changed)])
        self._changed.clear()

    def advance(self, partition: int, sequence: int) -> None:
        """Note that the next message of a partition is stored.

        Raises:
            ValueError: it isn't the next one.
        """
        position = self.all[partition]
        if sequence != position.sequence + 1:
            raise ValueError(
                f"message {sequence} of partition {partition} came after {position.sequence}"
            )
        position.sequence = sequence
        self._changed.add(partition)

    def note_change(self, partition: int, number: int) -> None:
        """Note that a change is stored."""
        self.all[partition].change = number
        self._changed.add(partition)

    def note_seen(self, partition: int, sequence: int) -> None:
        """Note that ``nodes`` has when each was last heard, up to that message."""
        self.all[partition].last_seen_sequence = sequence
        self._changed.add(partition)

    def of_sensor(self, node: Node) -> int:
        position = self.all[partition_of(node.uid)]
        position.next_sensor += PARTITIONS
        self._changed.add(position.partition)
        return position.next_sensor - PARTITIONS

    def of_rejected(self, node: Node) -> int:
        return self.next_rejected(partition_of(node.uid))

    def next_rejected(self, partition: int) -> int:
        """The id of a new row of ``rejected``."""
        position = self.all[partition]
        position.next_rejected += PARTITIONS
        self._changed.add(position.partition)
        return position.next_rejected - PARTITIONS

    def trim_rejected(self, db: Database, added: Sequence[int | None]) -> None:
        """Each partition keeps as many as the others; a row's place is taken by a later one."""
        db.conn.executemany(
            "delete from rejected where id = ?",
            [(id_ - REJECTED_KEPT,) for id_ in added if id_ is not None],
        )
