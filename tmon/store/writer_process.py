"""The writing process: a writer from its start to its end."""

import logging
import os
import socket
from pathlib import Path

from sqlite_utils import Database

from tmon.core.errors import Replaced, TmonError
from tmon.db import rescue
from tmon.db.connect import open_database
from tmon.db.wal import Wal
from tmon.store.writer import Writer

CACHE_KIB = 8_000

log = logging.getLogger("tmon.writer")


def write_what_comes(line: socket.socket, path: Path) -> Database:
    """Be the writer of one database, until the other end of the line is closed.

    Returns:
        The open connection. To close it would be to remove the log, by now empty, and its index,
        which Datasette needs to start and can't make.
    """
    db = open_database(path)
    with line:
        db.execute(f"pragma cache_size = -{CACHE_KIB}")
        wal = Wal(db, path)
        writer = Writer(db, wal, line)
        try:
            writer.run()
            if not writer.has_damage:
                wal.checkpoint(db)
        except Replaced as error:
            rescue.save(wal.files, error, writer.refuse)
            os._exit(1)  # to close the connection would be to write to files that aren't ours
        if writer.has_damage:
            os._exit(0)  # to close the connection would be to write the log to a damaged file
        wal.close()
    return db


def start(path: Path) -> socket.socket:
    """Start the writing process; its line ends when it does, and it ends when the line does.

    It is a copy of this process, which must not have begun any thread, and holds
    back the signals to stop: for the writer they never come, it ends with its line.
    """
    ours, theirs = socket.socketpair()
    if os.fork():
        theirs.close()
        return ours
    _keep_nothing_but(theirs.fileno())
    status = 1
    try:
        open_still = write_what_comes(theirs, path)  # noqa: F841 - until the process is gone
        status = 0
    except (TmonError, OSError) as error:  # OSError: the disk can't make them durable
        log.critical("readings can't be stored any more: %s", error)
    except BaseException:
        log.critical("readings can't be stored any more", exc_info=True)
    finally:
        os._exit(status)


def _keep_nothing_but(line_fd: int) -> None:
    """What its parent has open is not the writer's."""
    os.closerange(3, line_fd)
    os.closerange(line_fd + 1, os.sysconf("SC_OPEN_MAX"))
