"""The writer of a sink: the writing process as on a single machine, fed by the streams."""

import socket

from sqlite_utils import Database

from tmon.db.wal import Wal
from tmon.store.messages import MessageReader
from tmon.store.writer import Writer
from tmon.stream.sink_store import Begin, Portion, SinkStore


def sink_writer(db: Database, wal: Wal, sock: socket.socket) -> Writer[Portion | Begin]:
    """The writer of a sink: the consumer sends it portions of partitions."""
    return Writer(
        db,
        wal,
        sock,
        MessageReader(list[tuple[int, Portion | Begin]]),
        lambda on_foreign_change: SinkStore(db, wal.files, on_foreign_change),
    )
