"""The writing half of a connection: how much waits, and whether its reader still reads."""

import asyncio
import fcntl
import socket
import struct
import termios

from ingest.limits import SEND_AHEAD_S, SEND_BYTES_PER_S, SEND_S


class SendingProtocol(asyncio.Protocol):
    """Writes to a transport, and tells a slow reader from one that has stopped reading.

    Each byte that is taken buys time, at ``send_bytes_per_s``. So a slow reader
    isn't cut off, however much it reads, nor is one behind a proxy that takes a
    lot ahead.
    """

    send_s = SEND_S
    send_bytes_per_s = SEND_BYTES_PER_S
    _transport: asyncio.Transport
    _loop: asyncio.AbstractEventLoop

    def start_sending(self) -> None:
        """To be called once, when there is a transport."""
        self._writable: asyncio.Event | None = None  # while there is too much to write
        self._written_bytes = self._taken_bytes = 0
        self._send_due_s = self._loop.time() + self.send_s

    def pause_writing(self) -> None:
        self._writable = asyncio.Event()

    def resume_writing(self) -> None:
        if self._writable is not None:
            self._writable.set()
            self._writable = None

    def write(self, data: bytes) -> None:
        self._written_bytes += len(data)
        self._transport.write(data)

    @property
    def is_full(self) -> bool:
        """Whether there is more to write than the other side has taken."""
        return self._writable is not None

    async def drained(self) -> None:
        if self._writable is not None:
            await self._writable.wait()

    def abort_if_unread(self) -> None:
        """Cut the connection off if too little was taken for too long; ask every few seconds."""
        now_s = self._loop.time()
        waiting = self._transport.get_write_buffer_size()
        taken = self._written_bytes - waiting - _unacknowledged_bytes(self._transport)
        self._send_due_s += (taken - self._taken_bytes) / self.send_bytes_per_s
        self._taken_bytes = taken
        if not waiting:
            self._send_due_s = max(self._send_due_s, now_s + self.send_s)
        self._send_due_s = min(self._send_due_s, now_s + SEND_AHEAD_S)
        if self._send_due_s <= now_s:
            self._transport.abort()


def _unacknowledged_bytes(transport: asyncio.Transport) -> int:
    """What the system has taken and the other side hasn't.

    Up to megabytes, of which the system takes more when a third is gone: minutes
    of a slow reader. 0 where the system doesn't tell.
    """
    sock: socket.socket = transport.get_extra_info("socket")
    try:
        answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
    except OSError:
        return 0
    return int(struct.unpack("i", answer)[0])
