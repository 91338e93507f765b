"""Messages between the process that takes readings and the one that writes them."""

from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct

from ingest.reading import Batch, Receipt

LENGTH_BYTES = 4

T = TypeVar("T")


class Failure(Struct, frozen=True, array_like=True, tag=True):
    """Why a batch was not stored: an error's code and sentence."""

    code: str
    error: str


class Reply(Struct, array_like=True):
    """What became of the next batches, in the order they were handed over.

    ``others_wrote``: another program has changed the database. ``readings``
    were in one transaction, which began at ``began_s`` of the monotonic clock
    and was on the disk after ``took_s``.
    """

    results: list[Receipt | Failure]
    others_wrote: bool = False
    readings: int = 0
    began_s: float = 0.0
    took_s: float = 0.0


class Frames(Generic[T]):
    """Cuts a stream of bytes into messages of one type."""

    def __init__(self, message: type[T]) -> None:
        self._decoder = msgspec.msgpack.Decoder(message)
        self._pending = b""

    def feed(self, data: bytes) -> Iterator[T]:
        """The messages that end in ``data``."""
        data = self._pending + data
        start = 0
        while (end := _end(data, start)) is not None:
            yield self._decoder.decode(memoryview(data)[start + LENGTH_BYTES : end])
            start = end
        self._pending = data[start:]


def batches_in() -> Frames[list[Batch]]:
    """What the writer is sent."""
    return Frames(list[Batch])


def replies_in() -> Frames[Reply]:
    """What it answers."""
    return Frames(Reply)


def frame(message: object) -> bytes:
    """A message with its length in front."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def _end(data: bytes, start: int) -> int | None:
    """Where the message that begins at ``start`` ends, if all of it is here."""
    if len(data) - start < LENGTH_BYTES:
        return None
    end = start + LENGTH_BYTES + int.from_bytes(data[start : start + LENGTH_BYTES], "big")
    return end if end <= len(data) else None
