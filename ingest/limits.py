"""What one sender may take of the server: bytes, and time."""

import zlib
from collections.abc import Mapping

from starlette.types import Receive

from tmon.core.errors import InvalidBody, TooLarge, UnknownEncoding

BODY_BYTES = 1024 * 1024  # as sent
DECOMPRESSED_BYTES = 8 * 1024 * 1024
BODY_S = 30.0
UNREAD_BYTES = 64 * 1024  # of a body, before its sender is made to wait
DRAIN_BYTES = 16 * BODY_BYTES  # read behind an early answer, which a reset would take away
GZIP_MEMBERS = 100  # each is looked for in a copy of what follows the one before
HEADER_BYTES = 16 * 1024
HEADER_S = 10.0
SEND_S = 30.0  # a reader of 5 KB/s opens its window every 26 s on loopback
SEND_BYTES_PER_S = 2048  # slower than GPRS: who reads no faster on average is cut off
SEND_AHEAD_S = 900.0  # a proxy takes megabytes ahead of such a reader, then nothing for minutes
PIPELINED = 16  # requests that are parsed ahead; the rest waits as bytes
LINGER_S = 2.0  # for a sender to see why it was refused, before the connection is closed
ENCODINGS = (b"gzip", b"x-gzip", b"identity", b"")
_GZIP = 16 + zlib.MAX_WBITS  # zlib's way to say: with gzip's header


async def limited_body(headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
    """A request's body, as it was sent.

    Raises:
        TooLarge: over 1 MiB; it isn't read further.
        UnknownEncoding: compressed in another way than gzip.
        InvalidBody: it was cut off.
    """
    if b"content-encoding" in headers and _encoding(headers) not in ENCODINGS:
        raise UnknownEncoding("send the body as it is, or with Content-Encoding: gzip")
    if int(headers.get(b"content-length", 0)) > BODY_BYTES:
        raise _too_large()
    return await _whole(receive)


def is_compressed(headers: Mapping[bytes, bytes]) -> bool:
    return b"content-encoding" in headers and _encoding(headers).endswith(b"gzip")


def _encoding(headers: Mapping[bytes, bytes]) -> bytes:
    return headers[b"content-encoding"].strip().lower()


async def _whole(receive: Receive) -> bytes:
    whole, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidBody("the sender went away before the body's end")
        part: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        if len(whole) + len(part) > BODY_BYTES:
            raise _too_large()
        if not (whole or more):
            return part  # as usual
        whole += part
    return bytes(whole)


def _too_large() -> TooLarge:
    return TooLarge(f"the body is over {BODY_BYTES:,} bytes; send fewer readings")


def decompress(data: bytes) -> bytes:
    """A gzip body's contents; of an empty one, nothing.

    Raises:
        TooLarge: over 8 MiB.
        InvalidBody: it isn't gzip, or it was cut off.
    """
    whole = bytearray()
    try:
        for _ in range(GZIP_MEMBERS):
            if not data:
                return bytes(whole)
            member = zlib.decompressobj(_GZIP)
            whole += member.decompress(data, DECOMPRESSED_BYTES + 1 - len(whole))
            if len(whole) > DECOMPRESSED_BYTES:
                raise TooLarge(f"the body is over {DECOMPRESSED_BYTES:,} bytes decompressed")
            if not member.eof:
                raise InvalidBody("the gzip body is cut off")
            data = member.unused_data
    except zlib.error as error:
        raise InvalidBody(f"the body is not gzip: {error}") from None
    raise InvalidBody(f"the gzip body has over {GZIP_MEMBERS} members")
