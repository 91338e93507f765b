"""What the streams carry: readings of nodes, and changes that the owner made.

A node's messages are all in one partition, so every machine reads them in the same order.
"""

from collections.abc import Mapping, Sequence
from zlib import crc32

import msgspec
from msgspec import Struct

from tmon.core.errors import TmonError
from tmon.core.reading import Batch

PARTITIONS = 16
VERSION = 1  # the first byte of each message
BODY = 5  # where its body begins: after the version, and a CRC-32 of both, in all versions
MESSAGE_BYTES = 1_000_000  # NATS takes this much without settings of its own


Value = int | float | str | None  # no owner's command writes a blob
Parameters = Sequence[Value] | Mapping[str, Value]
Statement = tuple[str, Parameters]  # SQL with its parameters


class UnknownMessage(TmonError):
    """A message that this version of tmon can't read."""


class Readings(Struct, frozen=True, array_like=True, tag="readings"):
    """Batches that came together; all are of nodes of one partition."""

    batches: Sequence[Batch]


class Change(Struct, frozen=True, array_like=True, tag="change"):
    """One transaction of an owner's command.

    ``number`` counts the changes of the station from 1 on. ``after`` holds the position in each
    partition (sequence by partition) of the file that the command saw: the change is stored only
    where those messages are.
    """

    number: int
    after: dict[int, int]
    statements: Sequence[Statement]


Message = Readings | Change

_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def not_stored(change: int) -> str:
    """How the reason begins that stands in ``rejected`` if a change can't be stored."""
    return f"change {change} can't be stored: "


def partition_of(node_uid: str) -> int:
    """The partition of a node, 0 to 15; a rename doesn't change it."""
    return crc32(node_uid.encode()) % PARTITIONS


def stream_name(partition: int) -> str:
    """The name of a partition's stream."""
    return f"tmon-readings-{partition}"


def subject(partition: int) -> str:
    """The subject on which a partition's messages are published."""
    return f"tmon.readings.{partition}"


def encode(message: Message) -> bytes:
    """A message's bytes."""
    return seal(msgspec.msgpack.encode(message))


def encode_readings(batches: Sequence[msgspec.Raw]) -> bytes:
    """The bytes of ``Readings`` whose batches are encoded already."""
    return seal(msgspec.msgpack.encode(("readings", batches)))


def seal(body: bytes, version: int = VERSION) -> bytes:
    """A body with its version and checksum in front.

    NATS has checksums too, but not of a message's lengths: after a flipped bit in its file
    it gave us other bytes.
    """
    first = bytes([version])
    return first + crc32(body, crc32(first)).to_bytes(BODY - 1, "big") + body


def is_intact(data: bytes) -> bool:
    """Whether a message of any version is as it was published."""
    checksum = crc32(memoryview(data)[BODY:], crc32(data[:1]))
    return data[1:BODY] == checksum.to_bytes(BODY - 1, "big")


def is_change(data: bytes) -> bool:
    """Whether a message isn't ``Readings``, without decoding it."""
    return not data.startswith(_READINGS_BEGIN, BODY)


def version_of(data: bytes) -> int:
    """The version of a message's format; 0 of an empty one."""
    return data[0] if data else 0


def decode(data: bytes) -> Message:
    """The message of some bytes.

    Raises:
        UnknownMessage: they are of a newer version, or no message of ours.
    """
    if data[:1] != bytes([VERSION]):
        raise UnknownMessage("a message of another version of tmon: upgrade this one")
    try:
        return _decoder.decode(memoryview(data)[BODY:])
    except msgspec.MsgspecError as error:
        raise UnknownMessage(f"a message that isn't one of tmon's: {error}") from None


_READINGS_BEGIN = encode(Readings(()))[BODY:-1]
