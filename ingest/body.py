"""Request bodies: read within their limit, decompressed, and parsed."""

import asyncio
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from starlette.types import Receive

from ingest.limits import (
    BODY_BYTES,
    DECOMPRESSED_BYTES,
    GZIP_MEMBERS,
    PARSE_INLINE_BYTES,
    PARSE_QUEUE_BYTES,
)
from tmon.core.errors import InvalidBody, Overloaded, TooLarge, UnknownEncoding

ENCODINGS = (b"gzip", b"x-gzip", b"identity", b"")
GZIP_WBITS = 16 + zlib.MAX_WBITS  # zlib's number for: gzip's header, not zlib's
BEGINNING_BYTES = 4096  # more than is ever shown
T = TypeVar("T")
BODY_TOO_LARGE = "the body is over {:,} bytes; send fewer readings"


async def limited_body(
    headers: Mapping[bytes, bytes], receive: Receive, most_bytes: int = BODY_BYTES
) -> bytes:
    """A request's body, as it was sent.

    Raises:
        TooLarge: over 1 MiB, or ``most_bytes``; the rest isn't read.
        UnknownEncoding: compressed in another way than gzip.
        InvalidBody: it was cut off.
    """
    if b"content-encoding" in headers and _encoding(headers) not in ENCODINGS:
        raise UnknownEncoding("send the body as it is, or with Content-Encoding: gzip")
    if int(headers.get(b"content-length", 0)) > most_bytes:
        raise TooLarge(BODY_TOO_LARGE.format(most_bytes))
    whole, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidBody("the sender went away before the body's end")
        part: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        if len(whole) + len(part) > most_bytes:
            raise TooLarge(BODY_TOO_LARGE.format(most_bytes))
        if not (whole or more):
            return part  # the usual case: one message, and no copy
        whole += part
    return bytes(whole)


def is_compressed(headers: Mapping[bytes, bytes]) -> bool:
    return b"content-encoding" in headers and _encoding(headers).endswith(b"gzip")


def _encoding(headers: Mapping[bytes, bytes]) -> bytes:
    return headers[b"content-encoding"].strip().lower()


def decompress(data: bytes) -> bytes:
    """A gzip body's contents; an empty body stays empty.

    Raises:
        TooLarge: over 8 MiB.
        InvalidBody: it isn't gzip, or it was cut off.
    """
    whole = bytearray()
    try:
        for _ in range(GZIP_MEMBERS):
            if not data:
                return bytes(whole)
            member = zlib.decompressobj(GZIP_WBITS)
            whole += member.decompress(data, DECOMPRESSED_BYTES + 1 - len(whole))
            if len(whole) > DECOMPRESSED_BYTES:
                raise TooLarge(f"the body is over {DECOMPRESSED_BYTES:,} bytes decompressed")
            if not member.eof:
                raise InvalidBody("the gzip body is cut off")
            data = member.unused_data
    except zlib.error as error:
        raise InvalidBody(f"the body is not gzip: {error}") from None
    raise InvalidBody(f"the gzip body has over {GZIP_MEMBERS} members")


def inflate(data: bytes) -> str:
    """The text of zlib's data; at most as large as a body that isn't packed.

    Raises:
        TooLarge: over 1 MiB.
        InvalidBody: it isn't zlib.
    """
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(data, BODY_BYTES)
    except zlib.error as error:
        raise InvalidBody(f"the body is not zlib: {error}") from None
    if inflater.unconsumed_tail:
        raise TooLarge(f"the body is over {BODY_BYTES:,} bytes decompressed")
    return text.decode(errors="replace")


def beginning(headers: Mapping[bytes, bytes], body: bytes) -> str:
    """The first part of a body as text, for people; empty if it can't be decompressed."""
    if is_compressed(headers):
        try:
            body = zlib.decompressobj(GZIP_WBITS).decompress(body, BEGINNING_BYTES)
        except zlib.error:
            return ""
    return body[:BEGINNING_BYTES].decode(errors="replace")


class BodyParser:
    """Owns the thread that parses large bodies, so that small ones don't wait for them."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "body-parser")
        self._queued_bytes = 0

    async def parse(self, body: bytes, parse: Callable[[bytes], T], *, packed: bool = False) -> T:
        """``parse`` of a body; of one that is ``packed`` with gzip, of its contents.

        Raises:
            Overloaded: over 64 MiB of other bodies wait already.
        """
        size = len(body)
        if size <= PARSE_INLINE_BYTES and not packed:
            return parse(body)
        if self._queued_bytes and self._queued_bytes + size > PARSE_QUEUE_BYTES:
            raise Overloaded("too many large requests wait to be read; try again later")
        self._queued_bytes += size
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._thread, lambda: parse(decompress(body) if packed else body)
            )
        finally:
            self._queued_bytes -= size

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
