"""The writing process: a writer from its start to its end."""

import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from tmon.core.errors import Replaced, TmonError
from tmon.db import rescue
from tmon.db.connect import open_database
from tmon.db.wal import Wal
from tmon.store.writer import Writer, batch_writer

CACHE_KIB = 8_000

MakeWriter = Callable[[Database, Wal, socket.socket], Writer[Any]]

log = logging.getLogger("tmon.writer")


def run_writer(
    sock: socket.socket,
    path: Path,
    make_writer: MakeWriter = batch_writer,
    *,
    in_cluster: bool = False,
) -> Database:
    """Run the writer of one database until the other end closes the socket.

    Args:
        sock: where its items come from.
        path: the database file.
        make_writer: by what they are stored.
        in_cluster: they are of the streams, which other machines store as well.

    Returns:
        The open connection. Closing it would remove the empty log and its index, which
        Datasette needs to start and can't make.
    """
    db = open_database(path, in_cluster=in_cluster)
    with sock:
        db.execute(f"pragma cache_size = -{CACHE_KIB}")
        wal = Wal(db, path)
        writer = make_writer(db, wal, sock)
        try:
            writer.run()
            if not writer.has_damage:
                wal.checkpoint(db)
        except Replaced as error:
            rescue.save(wal.files, error, writer.refuse)
            os._exit(1)  # closing the connection would write to files that aren't ours
        if writer.has_damage:
            os._exit(0)  # closing the connection would write the log into a damaged file
        wal.close()
    return db


def start(
    path: Path, make_writer: MakeWriter = batch_writer, *, in_cluster: bool = False
) -> socket.socket:
    """Fork the writing process; returns the socket to it. Each ends when the other closes it.

    This process must not have started a thread yet, and must have blocked the signals
    to stop: the writer never gets them, and ends with its socket.
    """
    ours, theirs = socket.socketpair()
    if os.fork():
        theirs.close()
        return ours
    os.closerange(3, theirs.fileno())  # what the parent has open isn't the writer's
    os.closerange(theirs.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
    status = 1
    try:
        # Until the process is gone:
        still_open = run_writer(theirs, path, make_writer, in_cluster=in_cluster)  # noqa: F841
        status = 0
    except (TmonError, OSError) as error:  # OSError: the disk can't make readings durable
        log.critical("readings can't be stored any more: %s", error)
    except BaseException:
        log.critical("readings can't be stored any more", exc_info=True)
    finally:
        os._exit(status)
