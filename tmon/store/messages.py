"""Messages between the process that takes readings and the one that writes them."""

from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct

from tmon.core.reading import Batch, Receipt

COMMIT_READINGS = 10_000  # a transaction's size: one request's at most, or many small ones
LENGTH_BYTES = 4
MESSAGE_BYTES = 1 << 28  # more than a transaction of refused readings, each with the longest texts

T = TypeVar("T")


class Failure(Struct, frozen=True, array_like=True, tag=True):
    """Why a batch was not stored: an error's code and sentence.

    ``lasting``: it would fail any batch now, so it isn't this one's own.
    """

    code: str
    error: str
    lasting: bool = True


class Reply(Struct, array_like=True):
    """What became of some batches, each by the number under which it was handed over.

    ``others_wrote``: another program has changed the database. ``readings``
    were in one transaction, which was on the disk after ``took_s``. ``trouble``:
    nothing can be stored now, so what is not handed over yet needn't be.
    """

    results: list[tuple[int, Receipt | Failure]]
    others_wrote: bool = False
    readings: int = 0
    took_s: float = 0.0
    trouble: Failure | None = None


class Frames(Generic[T]):
    """Cuts a stream of bytes into messages of one type."""

    def __init__(self, message: type[T]) -> None:
        self._decoder = msgspec.msgpack.Decoder(message)
        self._pending = b""

    def feed(self, data: bytes) -> Iterator[T]:
        """The messages that end in ``data``.

        Raises:
            msgspec.MsgspecError: bytes that are no such message.
            ValueError: the same, or a message that is too long.
        """
        data = self._pending + data
        start = 0
        while (end := _end(data, start)) is not None:
            yield self._decoder.decode(memoryview(data)[start + LENGTH_BYTES : end])
            start = end
        self._pending = data[start:]


def batches_in() -> Frames[list[tuple[int, Batch]]]:
    """What the writer is sent: batches, numbered from 1 on."""
    return Frames(list[tuple[int, Batch]])


def encode(batch: Batch) -> msgspec.Raw:
    """A batch's bytes within a message.

    Raises:
        Exception: the batch holds what can't be encoded.
    """
    return msgspec.Raw(msgspec.msgpack.encode(batch))


def frame(message: object) -> bytes:
    """A message with its length in front."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def _end(data: bytes, start: int) -> int | None:
    """Where the message that begins at ``start`` ends, if all of it is here."""
    if len(data) - start < LENGTH_BYTES:
        return None
    length = int.from_bytes(data[start : start + LENGTH_BYTES], "big")
    if length > MESSAGE_BYTES:
        raise ValueError(f"a message of {length:,} bytes")
    end = start + LENGTH_BYTES + length
    return end if end <= len(data) else None
