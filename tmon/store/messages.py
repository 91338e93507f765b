"""Messages between the process that takes readings and the process that writes them."""

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

    ``lasting``: any other batch would fail in the same way now.
    """

    code: str
    error: str
    lasting: bool = True


class Reply(Struct, array_like=True):
    """Results of some batches, each with its batch's number.

    ``others_wrote``: another program has changed the database. ``readings``
    were in one transaction, which was on the disk after ``took_s``. ``trouble``:
    nothing can be stored now, so don't send the batches that still wait.
    """

    results: list[tuple[int, Receipt | Failure]]
    others_wrote: bool = False
    readings: int = 0
    took_s: float = 0.0
    trouble: Failure | None = None


class MessageReader(Generic[T]):
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
        while len(data) - start >= LENGTH_BYTES:
            length = int.from_bytes(data[start : start + LENGTH_BYTES], "big")
            if length > MESSAGE_BYTES:
                raise ValueError(f"a message of {length:,} bytes")
            end = start + LENGTH_BYTES + length
            if end > len(data):
                break
            yield self._decoder.decode(memoryview(data)[start + LENGTH_BYTES : end])
            start = end
        self._pending = data[start:]


def batch_reader() -> MessageReader[list[tuple[int, Batch]]]:
    """Reads what is sent to the writer: batches, numbered from 1 on."""
    return MessageReader(list[tuple[int, Batch]])


def encode_batch(batch: Batch) -> msgspec.Raw:
    """A batch's bytes within a message.

    Raises:
        Exception: the batch holds what can't be encoded.
    """
    return msgspec.Raw(msgspec.msgpack.encode(batch))


def encode_message(message: object) -> bytes:
    """A message with its length in front."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body
