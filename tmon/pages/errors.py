"""An error, answered before Datasette has a request, in the shape that its own errors have."""

from collections.abc import Mapping
from typing import Any

from datasette import Response

from tmon.pages.sending import Send


async def send_error(  # noqa: PLR0913
    datasette: Any,
    scope: dict[str, Any],
    send: Send,
    status: int,
    message: str,
    *,
    title: str,
    headers: Mapping[str, str] | None = None,
) -> None:
    """JSON, text for a CSV, or a page."""
    headers = {"cache-control": "no-store", **(headers or {})}
    if scope["path"].endswith(".json"):
        answer = Response.error(message, status, headers=headers)
    elif scope["path"].endswith(".csv"):
        answer = Response.text(message, status=status, headers=headers)
    else:
        template = datasette.get_jinja_environment().get_template("error.html")
        context = {"ok": False, "error": message, "status": status, "title": title}
        html = await template.render_async(context, urls=datasette.urls, menu_links=list)
        answer = Response.html(html, status=status, headers=headers)
    await answer.asgi_send(send)
