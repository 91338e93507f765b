"""Text goes over the wire compressed, part by part as it comes."""

import asyncio
import zlib
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.publish.published import Serve, Site, two_sensors
from tmon.pages.middleware import SMALLEST_GZIP_BYTES, gzip

GZIP = {"Accept-Encoding": "br, gzip"}
PLAIN = {"Accept-Encoding": "identity"}


def get(site: Site, path: str, headers: dict[str, str]) -> requests.Response:
    return requests.get(site.url + path, headers=headers, timeout=60)


@pytest.mark.parametrize(
    "path", ["/tmon/readings", "/tmon/readings.json", "/static/tmon.css", "/tmon/readings.csv"]
)
def test_text_is_compressed_for_those_who_accept_it(site: Site, path: str) -> None:
    packed, plain = get(site, path, GZIP), get(site, path, PLAIN)
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    for answer in (packed, plain):
        assert "accept-encoding" in answer.headers["vary"].lower()
    if "." in path and path != "/tmon/readings.json":  # the others tell how long they took
        assert packed.content == plain.content


def test_what_is_short_goes_as_it_is(site: Site) -> None:
    answer = get(site, "/static/icon.svg", GZIP)
    assert len(answer.content) < SMALLEST_GZIP_BYTES
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert "content-encoding" not in answer.headers


def test_a_long_csv_is_whole(serve: Serve, tmp_path: Path) -> None:
    site = serve(two_sensors(tmp_path))
    answer = get(site, "/tmon/readings.csv", GZIP)
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["transfer-encoding"] == "chunked"
    assert len(answer.text.splitlines()) == 1 + 2 * 12_000


async def parts_of(*parts: bytes, headers: list[tuple[bytes, bytes]], end: bool) -> list[Any]:
    """What has gone out after each part of an answer, through the plugin."""
    gone: list[dict[str, Any]] = []
    counted: list[Any] = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
            counted.append(b"".join(message.get("body", b"") for message in gone))
        if end:
            await send({"type": "http.response.body", "body": b""})
            counted.append(gone[-1])

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        gone.append(message)

    scope = {"type": "http", "headers": [(b"accept-encoding", b"gzip")]}
    await gzip(app)(scope, receive, send)
    return [dict(gone[0]["headers"]), *counted]


def unpacked(packed: bytes) -> bytes:
    return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(packed)


def test_a_part_goes_out_before_the_next_is_made() -> None:
    csv = [(b"content-type", b"text/csv")]
    headers, *gone, last = asyncio.run(parts_of(b"a,b\r\n", b"1,2\r\n", headers=csv, end=True))
    assert headers[b"content-encoding"] == b"gzip"
    assert [unpacked(packed) for packed in gone] == [b"a,b\r\n", b"a,b\r\n1,2\r\n"]
    assert not last.get("more_body")


def test_an_answer_that_breaks_off_has_no_end() -> None:
    csv = [(b"content-type", b"text/csv")]
    _, gone = asyncio.run(parts_of(b"a,b\r\n", headers=csv, end=False))
    found = zlib.decompressobj(16 + zlib.MAX_WBITS)
    assert found.decompress(gone) == b"a,b\r\n"
    assert not found.eof


@pytest.mark.parametrize(
    "headers", [[(b"content-type", b"image/png")], [(b"content-encoding", b"br")]]
)
def test_what_is_compressed_already_is_left_alone(headers: list[tuple[bytes, bytes]]) -> None:
    _, gone, _ = asyncio.run(parts_of(b"x" * 5000, headers=headers, end=True))
    assert gone == b"x" * 5000
