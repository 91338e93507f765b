"""The whole database as one file: a page about it, and the file itself, in parts where asked."""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from email.utils import formatdate
from pathlib import Path
from typing import Any, NamedTuple

from datasette import NotFound, Response, hookimpl

from tmon.pages.offered import NAME, NEWEST, Offered, folder_of, newest, take
from tmon.pages.station import address, page, problem

CHUNK_BYTES = 256 * 1024  # read in a thread, one after the other: no download is held in memory
MEDIA_TYPE = "application/vnd.sqlite3"
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Part(NamedTuple):
    """What of a file is sent: from which byte on, how many; ``status`` is 200, 206 or 416."""

    status: int
    start: int
    length: int


@hookimpl
def register_routes() -> list[tuple[str, Any]]:
    """The page, the newest copy, and each that there still is by its own name."""
    return [
        (r"/download$", show),
        (rf"/download/(?P<name>{re.escape(NEWEST)}|{NAME})$", send_file),
        (rf"/download/(?P<name>{re.escape(NEWEST)}|{NAME})\.sha256$", send_digest),
    ]


@hookimpl
def extra_template_vars(datasette: Any) -> Callable[[], Awaitable[dict[str, Any]]] | None:
    """``download`` for every page's foot: the newest copy, where there is one."""
    folder = folder_of(datasette)
    if folder is None:
        return None

    async def variables() -> dict[str, Any]:
        return {"download": await asyncio.to_thread(newest, folder)}

    return variables


async def show(datasette: Any, request: Any) -> Response:
    """``/download``: how large it is, of when, how to check it; or how to make one."""
    folder = folder_of(datasette)
    found = await asyncio.to_thread(newest, folder)
    if found is None:
        return await _nothing_yet(datasette, request, is_set=folder is not None)
    url = address(datasette, request, f"/download/{found.name}")
    return await page(datasette, request, "download.html", {"offered": found, "url": url})


async def send_digest(datasette: Any, request: Any) -> Response:
    """``/download/tmon.db.sha256``, as ``sha256sum -c`` reads it."""
    name, (offered, descriptor) = await _asked(datasette, request)
    os.close(descriptor)
    return Response.text(f"{offered.sha256}  {name}\n", headers={"cache-control": "no-cache"})


async def send_file(datasette: Any, request: Any, receive: Receive, send: Send) -> None:
    """``/download/tmon.db``: all of it or a part, from one file to the end."""
    name, (offered, descriptor) = await _asked(datasette, request)
    try:
        if request.method not in {"GET", "HEAD"}:
            await _answer(send, 405, {"allow": "GET, HEAD"})
        elif request.headers.get("if-none-match") in {_etag(offered), "*"}:
            await _answer(send, 304, _headers(name, offered))
        else:
            part = part_of(offered, request.headers)
            await _answer(send, part.status, _headers(name, offered, part), more=True)
            whole = 0 if request.method == "HEAD" else part.length
            await _stream(descriptor, part._replace(length=whole), receive, send)
    finally:
        os.close(descriptor)


def part_of(offered: Offered, headers: Mapping[str, str]) -> Part:
    """What of a file a request asks for; several ranges, or of another file: all of it."""
    size = offered.size_bytes
    asked = _RANGE.fullmatch(headers.get("range", "").replace(" ", ""))
    of_this = headers.get("if-range", _etag(offered)) == _etag(offered)
    if asked is None or not of_this or asked[0] == "bytes=-":
        return Part(200, 0, size)
    first, last = (int(digits) if digits else None for digits in asked.groups())
    if first is None:  # the last so many
        first, last = max(0, size - (last or 0)), None
    if last is not None and last < first:
        return Part(200, 0, size)
    if first >= size:
        return Part(416, 0, 0)
    end = size if last is None else min(size, last + 1)
    return Part(206, first, end - first)


async def _nothing_yet(datasette: Any, request: Any, *, is_set: bool) -> Response:
    told = "There is no copy of the whole database to download here yet."
    how = "tmon backup --publish DIR" if is_set else "TMON_DOWNLOAD_DIR, tmon backup --publish DIR"
    told += f" Whoever keeps this station can make one: {how}."
    links = {"all tables, as CSV or JSON": datasette.urls.database("tmon")}
    return await problem(datasette, request, 404, told, links)


async def _asked(datasette: Any, request: Any) -> tuple[str, tuple[Offered, int]]:
    """The name as it was asked for, and what has it, opened.

    Raises:
        NotFound: there is no such copy, or none any more.
    """
    name, folder = request.url_vars["name"], folder_of(datasette)
    opened = await asyncio.to_thread(_open, folder, name)
    if opened is None:
        raise NotFound("There is no such copy of the database; /download has the newest")
    return name, opened


def _open(folder: Path | None, name: str) -> tuple[Offered, int] | None:
    found = newest(folder) if name == NEWEST else None
    return take(folder, found.name if found else name) if folder else None


def _etag(offered: Offered) -> str:
    return f'"{offered.sha256}"'


def _headers(name: str, offered: Offered, part: Part | None = None) -> dict[str, str]:
    """Saved by the ``name`` that was asked for, as its digest has it too."""
    headers = {
        "etag": _etag(offered),
        "last-modified": formatdate(offered.made_ms / 1000, usegmt=True),
        "cache-control": "no-cache",  # ask whether it is still the newest
        "accept-ranges": "bytes",
    }
    if part is None:
        return headers
    size, end = offered.size_bytes, part.start + part.length - 1
    if part.status == 416:
        headers["content-range"] = f"bytes */{size}"
    elif part.status == 206:
        headers["content-range"] = f"bytes {part.start}-{end}/{size}"
    return {
        **headers,
        "content-type": MEDIA_TYPE,
        "content-length": str(part.length),
        "content-disposition": f'attachment; filename="{name}"',
    }


async def _answer(
    send: Send, status: int, headers: Mapping[str, str], *, more: bool = False
) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    if not more:
        await send({"type": "http.response.body", "body": b""})


async def _stream(descriptor: int, part: Part, receive: Receive, send: Send) -> None:
    """Send a part, as fast as it is taken, until it is whole or nobody is there any more."""
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        at, end = part.start, part.start + part.length
        while at < end and not gone.done():
            chunk = await asyncio.to_thread(os.pread, descriptor, min(CHUNK_BYTES, end - at), at)
            if not chunk:
                return  # shorter than it was: the connection closes, and no end is told
            at += len(chunk)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        if not gone.done():
            await send({"type": "http.response.body", "body": b""})
    finally:
        gone.cancel()
        with suppress(asyncio.CancelledError):
            await gone


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
