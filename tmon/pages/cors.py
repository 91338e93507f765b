"""Cross-origin reads: other sites' scripts may read what is published, but not our pages."""

from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tmon.pages.asgi import Middleware
from tmon.pages.queries import DATABASE

# What such a script may see besides the body: to resume a download, and to page.
EXPOSED = b"ETag, Content-Range, Content-Length, Accept-Ranges, Link, Retry-After"
HEADERS = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", EXPOSED),
]
# To the question that a browser asks first, where a script adds headers of its own: any may come.
PREFLIGHT = [
    (b"access-control-allow-methods", b"GET, HEAD"),
    (b"access-control-allow-headers", b"*"),
    (b"access-control-max-age", b"86400"),
]


class Cors(Middleware):
    """Allows any origin to read JSON, CSV, SVG, feeds and downloads, unless TMON_CORS is no."""

    def __init__(self, app: ASGIApp, datasette: Any) -> None:
        super().__init__(app, datasette)
        self._is_on = (datasette.plugin_config(DATABASE) or {}).get("cors") != "no"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        preflight = PREFLIGHT if scope["method"] == "OPTIONS" else []

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start" and not _is_page(message["headers"]):
                message = {**message, "headers": [*message["headers"], *HEADERS, *preflight]}
            await send(message)

        await self.app(scope, receive, send_with_headers if self._is_on else send)


def _is_page(headers: list[tuple[bytes, bytes]]) -> bool:
    kind = next((value for name, value in headers if name.lower() == b"content-type"), b"")
    return kind.startswith(b"text/html")
