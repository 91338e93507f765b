"""The whole database as one file: a page about it, and the file itself, with range requests."""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from email.utils import formatdate
from pathlib import Path
from typing import Any, NamedTuple

from datasette import NotFound, Response, hookimpl
from starlette.types import Receive, Send

from tmon.core.languages import gettext
from tmon.pages.asgi import disconnected
from tmon.pages.public_copies import NEWEST_NAME, PublicCopy, copies_dir, newest_copy, open_copy
from tmon.pages.responses import absolute_url, render_page, render_problem

CHUNK_BYTES = 256 * 1024  # read in a thread, one at a time
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


class ByteRange(NamedTuple):
    """The part of a file to send: first byte and length; ``status`` is 200, 206 or 416."""

    status: int
    start: int
    length: int


@hookimpl
def extra_template_vars(datasette: Any) -> Callable[[], Awaitable[dict[str, Any]]] | None:
    """Give every page's footer the newest copy as ``download``."""
    folder = copies_dir(datasette)
    if folder is None:
        return None

    async def variables() -> dict[str, Any]:
        return {"download": await asyncio.to_thread(newest_copy, folder)}

    return variables


async def show(datasette: Any, request: Any) -> Response:
    """``/download``: size, date and digest of the newest copy; or how to make one."""
    folder = copies_dir(datasette)
    copy = await asyncio.to_thread(newest_copy, folder)
    if copy is not None:
        url = absolute_url(datasette, request, f"/download/{copy.name}")
        return await render_page(datasette, request, "download.html", {"copy": copy, "url": url})
    setting = "" if folder else "TMON_DOWNLOAD_DIR, "
    message = gettext(
        "There is no copy of the whole database to download here yet. Whoever keeps this station"
        " can make one: {command}"
    ).format(command=f"{setting}tmon backup --publish DIR.")
    links = {gettext("all tables, as CSV or JSON"): datasette.urls.database("tmon")}
    return await render_problem(datasette, request, 404, message, links)


async def send_digest(datasette: Any, request: Any) -> Response:
    """``/download/tmon.db.sha256``, in the format of ``sha256sum -c``."""
    copy, descriptor = await _open_requested(datasette, request)
    os.close(descriptor)
    text = f"{copy.sha256}  {request.url_vars['name']}\n"
    return Response.text(text, headers={"cache-control": "no-cache"})


async def send_file(datasette: Any, request: Any, receive: Receive, send: Send) -> None:
    """``/download/tmon.db``: the whole file or a range, always of the same copy."""
    copy, descriptor = await _open_requested(datasette, request)
    try:
        if request.method not in {"GET", "HEAD"}:
            await _send_start(send, 405, {"allow": "GET, HEAD"}, more=False)
        elif request.headers.get("if-none-match") in {_etag(copy), "*"}:
            await _send_start(send, 304, _validators(copy), more=False)
        else:
            requested = byte_range(copy, request.headers)
            headers = _range_headers(request.url_vars["name"], copy, requested)
            await _send_start(send, requested.status, headers, more=True)
            length = 0 if request.method == "HEAD" else requested.length
            await _send_range(descriptor, requested._replace(length=length), receive, send)
    finally:
        os.close(descriptor)


def byte_range(copy: PublicCopy, headers: Mapping[str, str]) -> ByteRange:
    """The range that a request asks for. Several ranges, or one of another copy: the whole."""
    size = copy.size_bytes
    requested = _RANGE.fullmatch(headers.get("range", "").replace(" ", ""))
    is_same_copy = headers.get("if-range", _etag(copy)) == _etag(copy)
    if requested is None or not is_same_copy or requested[0] == "bytes=-":
        return ByteRange(200, 0, size)
    first, last = (int(digits) if digits else None for digits in requested.groups())
    if first is None:  # the last bytes of the file
        first, last = max(0, size - (last or 0)), None
    if last is not None and last < first:
        return ByteRange(200, 0, size)
    if first >= size:
        return ByteRange(416, 0, 0)
    end = size if last is None else min(size, last + 1)
    return ByteRange(206, first, end - first)


async def _open_requested(datasette: Any, request: Any) -> tuple[PublicCopy, int]:
    """The copy with the requested name, and its file descriptor.

    Raises:
        NotFound: there is no such copy any more.
    """
    opened = await asyncio.to_thread(_open, copies_dir(datasette), request.url_vars["name"])
    if opened is None:
        raise NotFound(gettext("There is no such copy of the database; /download has the newest"))
    return opened


def _open(folder: Path | None, name: str) -> tuple[PublicCopy, int] | None:
    newest = newest_copy(folder) if name == NEWEST_NAME else None
    return open_copy(folder, newest.name if newest else name) if folder else None


def _etag(copy: PublicCopy) -> str:
    return f'"{copy.sha256}"'


def _validators(copy: PublicCopy) -> dict[str, str]:
    return {
        "etag": _etag(copy),
        "last-modified": formatdate(copy.made_ms / 1000, usegmt=True),
        "cache-control": "no-cache",  # revalidate: there may be a newer copy
        "accept-ranges": "bytes",
    }


def _range_headers(filename: str, copy: PublicCopy, requested: ByteRange) -> dict[str, str]:
    headers = {
        **_validators(copy),
        "content-type": "application/vnd.sqlite3",
        "content-length": str(requested.length),
        "content-disposition": f'attachment; filename="{filename}"',
    }
    end = requested.start + requested.length - 1
    if requested.status == 416:
        headers["content-range"] = f"bytes */{copy.size_bytes}"
    elif requested.status == 206:
        headers["content-range"] = f"bytes {requested.start}-{end}/{copy.size_bytes}"
    return headers


async def _send_start(send: Send, status: int, headers: Mapping[str, str], *, more: bool) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    if not more:
        await send({"type": "http.response.body", "body": b""})


async def _send_range(descriptor: int, requested: ByteRange, receive: Receive, send: Send) -> None:
    """Send bytes at the client's speed, until the end or until the client has gone."""
    gone = asyncio.ensure_future(disconnected(receive))
    try:
        at, end = requested.start, requested.start + requested.length
        while at < end and not gone.done():
            chunk = await asyncio.to_thread(os.pread, descriptor, min(CHUNK_BYTES, end - at), at)
            if not chunk:
                return  # the file was truncated: without an end, the connection is closed
            at += len(chunk)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        if not gone.done():
            await send({"type": "http.response.body", "body": b""})
    finally:
        gone.cancel()
        with suppress(asyncio.CancelledError):
            await gone
