"""The writing half of a connection: flow control, and a check that the reader still reads."""

import asyncio
import fcntl
import struct
import termios

from ingest.limits import SEND_AHEAD_S, SEND_BYTES_PER_S, SEND_S


class SendingProtocol(asyncio.Protocol):
    """Writes to a transport, and aborts it if the reader has stopped reading.

    Each byte that is taken extends the deadline, at ``send_bytes_per_s``. So a slow
    reader isn't cut off, however much it reads, nor one behind a proxy that reads far
    ahead.
    """

    send_s = SEND_S
    send_bytes_per_s = SEND_BYTES_PER_S
    _transport: asyncio.Transport
    _loop: asyncio.AbstractEventLoop

    def start_sending(self) -> None:
        """Call once, when there is a transport."""
        self._writable: asyncio.Event | None = None  # while the transport's buffer is full
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
        """Whether the transport's buffer is full."""
        return self._writable is not None

    async def drain(self) -> None:
        """Wait until the transport takes more."""
        if self._writable is not None:
            await self._writable.wait()

    def abort_if_unread(self) -> None:
        """Abort if the reader took too little for too long; call every few seconds."""
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
    """Bytes in the kernel's send buffer; 0 if the kernel doesn't tell.

    Up to megabytes, and the kernel takes more only when a third is gone: minutes of a
    slow reader.
    """
    descriptor = transport.get_extra_info("socket").fileno()
    try:
        answer = fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4))
    except OSError:
        return 0
    return int(struct.unpack("i", answer)[0])
