"""What our ASGI middleware shares: errors, slow clients, and clients that have gone."""

import asyncio
from collections.abc import Mapping
from typing import Any

from datasette import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tmon.core.languages import gettext

CHUNK_BYTES = 64 * 1024
CHUNK_TIMEOUT_S = 10.0  # for the client to read one chunk
SLOWEST_BYTES_PER_S = 50_000  # at which a client may read a long body


class SlowClient(Exception):
    """The client didn't read in time. The body stays incomplete and the connection is closed."""


class Middleware:
    """Base of our ASGI middleware. Subclasses define ``__call__``; only HTTP requests get there."""

    def __init__(self, app: ASGIApp, datasette: Any) -> None:
        self.app = app
        self.datasette = datasette

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise NotImplementedError

    async def send_error(  # noqa: PLR0913
        self,
        scope: Scope,
        send: Send,
        status: int,
        message: str,
        *,
        title: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send an error as Datasette does: JSON, text for a CSV, or a page."""
        headers = {"cache-control": "no-store", **(headers or {})}
        if scope["path"].endswith(".json"):
            response = Response.error(message, status, headers=headers)
        elif scope["path"].endswith(".csv"):
            response = Response.text(message, status=status, headers=headers)
        else:
            template = self.datasette.get_jinja_environment().get_template("error.html")
            context = {"ok": False, "error": message, "status": status, "title": title}
            html = await template.render_async(context, urls=self.datasette.urls, menu_links=list)
            response = Response.html(html, status=status, headers=headers)
        await response.asgi_send(send)

    async def send_too_many_requests(self, scope: Scope, send: Send) -> None:
        """Send a 429 that tells the client when to try again."""
        message = gettext("Too many requests at the moment. Try again in a few seconds.")
        headers = {"retry-after": "10"}
        title = gettext("Too many at once")
        await self.send_error(scope, send, 429, message, title=title, headers=headers)


async def disconnected(receive: Receive) -> None:
    """Return when the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def send_in_chunks(send: Send, body: bytes, *, more_body: bool) -> None:
    """Send a body no faster than the client reads it.

    Raises:
        SlowClient: it was not read in time.
    """
    try:
        async with asyncio.timeout(CHUNK_TIMEOUT_S + len(body) / SLOWEST_BYTES_PER_S):
            for start in range(0, len(body) or 1, CHUNK_BYTES):
                chunk = body[start : start + CHUNK_BYTES]
                more = more_body or start + CHUNK_BYTES < len(body)
                message = {"type": "http.response.body", "body": chunk, "more_body": more}
                await asyncio.wait_for(send(message), CHUNK_TIMEOUT_S)
                await asyncio.sleep(0)  # let other requests run
    except TimeoutError:
        raise SlowClient from None
