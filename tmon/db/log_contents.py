"""What a write-ahead log holds, by the headers of its frames."""

import os

from msgspec import Struct

from tmon.db import identity

FRAME_SALTS = slice(8, 16)


class LogContents(Struct, frozen=True):
    """The frames written since the log was last restarted, whether or not they are valid.

    ``committed`` counts the frames up to the last one that ends a transaction; ``pages`` are the
    pages in them, and ``database_pages`` is the database's length after that transaction.
    """

    header: bytes
    committed: int = 0
    pages: frozenset[int] = frozenset()
    database_pages: int = 0

    def completes(self, whole_pages: int) -> bool:
        """Whether the log has every page that a file of so many whole pages lacks."""
        missing = range(whole_pages + 1, self.database_pages + 1)
        return self.database_pages > 0 and self.pages.issuperset(missing)


def reaches(log: int, size_bytes: int) -> bool:
    """Whether the frames in use of an open log take that many bytes."""
    header = identity.log_header(log)
    if not header:
        return False
    frame_bytes = identity.frame_bytes(header)
    at = identity.LOG_HEADER.size + (size_bytes // frame_bytes - 1) * frame_bytes
    head = os.pread(log, identity.FRAME_HEADER_BYTES, at)
    return head[FRAME_SALTS] == header[identity.LOG_SALTS]


def read(log: int) -> LogContents:
    """The contents of an open log."""
    header = identity.log_header(log)
    if not header:
        return LogContents(header)
    salts, frame_bytes = header[identity.LOG_SALTS], identity.frame_bytes(header)
    pages: set[int] = set()
    open_pages: set[int] = set()  # of a transaction that hasn't ended yet
    committed = database_pages = 0
    frames = (os.fstat(log).st_size - identity.LOG_HEADER.size) // frame_bytes
    for frame in range(frames):
        at = identity.LOG_HEADER.size + frame * frame_bytes
        head = os.pread(log, identity.FRAME_HEADER_BYTES, at)
        if head[FRAME_SALTS] != salts:
            continue
        open_pages.add(int.from_bytes(head[:4], "big"))
        if length := int.from_bytes(head[4:8], "big"):
            committed, database_pages = frame + 1, length
            pages |= open_pages
            open_pages.clear()
    return LogContents(header, committed, frozenset(pages), database_pages)
