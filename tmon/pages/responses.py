"""Our HTML pages as responses, their absolute URLs, and the parameters all of them take."""

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from datasette import Response
from datasette.utils.asgi import BadRequest

from tmon.core.languages import gettext
from tmon.pages.queries import DATABASE

# Our pages have no inline scripts or styles.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' data:{images}; object-src 'none'; base-uri 'none';"
    " form-action 'self'; frame-ancestors {frames}"
)

INGEST_PORT = "13117"  # unless TMON_PORT is set

# Parameters with few values; spans of time are read in spans.py.
PARAMETERS = {
    "unit": ("C", "F"),
    "utc": ("0", "1"),
    "values": ("clean", "raw"),
    "sort": ("name", "worst", "silent"),  # silent: the older name of worst
    "view": ("list", "tiles"),
}


def check_parameters(request: Any) -> None:
    """Refuse values that a page would silently ignore.

    Raises:
        BadRequest: a parameter has another value; the message lists the allowed ones.
    """
    for name, allowed in PARAMETERS.items():
        for value in request.args.getlist(name):
            if value and value not in allowed:
                message = gettext("{name} must be {values}")
                raise BadRequest(message.format(name=name, values=gettext(" or ").join(allowed)))


def absolute_url(datasette: Any, request: Any, path: str = "/") -> str:
    """The URL of a path as the public knows it: TMON_PUBLIC_URL, or the host of the request."""
    public_url = (datasette.plugin_config(DATABASE) or {}).get("public_url")
    return f"{public_url or f'{request.scheme}://{request.host}'}{datasette.urls.path(path)}"


def ingest_url(datasette: Any, request: Any) -> str:
    """The URL that nodes send to: the configured one, or this host with ingest's port."""
    if configured := (datasette.plugin_config(DATABASE) or {}).get("ingest_url"):
        return str(configured)
    host = urlsplit(absolute_url(datasette, request)).hostname or "localhost"
    port = os.environ.get("TMON_PORT") or INGEST_PORT
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def node_path(node: str, sensor: str | None = None) -> str:
    """The path of a node's page or a sensor's, below the base URL."""
    return quote(f"/node/{node}" if sensor is None else f"/node/{node}/{sensor}", "/:")


async def render_page(  # noqa: PLR0913
    datasette: Any,
    request: Any,
    template: str,
    context: Mapping[str, Any],
    *,
    status: int = 200,
    may_be_framed: bool = False,
    image_origin: str = "",
) -> Response:
    """Render a page of ours; with ``may_be_framed`` other sites may embed it.

    ``image_origin`` is a server of the owner's choice whose pictures the page shows.
    """
    context = {
        "address": absolute_url(datasette, request, request.path),
        "icon_url": absolute_url(datasette, request, "/static/icon-512.png"),
        **context,
    }
    html = await datasette.render_template(template, context, request=request)
    policy = CONTENT_SECURITY_POLICY.format(
        images=f" {image_origin}" if image_origin else "", frames="*" if may_be_framed else "'none'"
    )
    return Response.html(html, status=status, headers={"content-security-policy": policy})


async def render_problem(
    datasette: Any, request: Any, status: int, message: str, links: Mapping[str, str]
) -> Response:
    """Render a page that says what is wrong, with links to go on."""
    if request.path.endswith(".json"):
        return Response.json({"ok": False, "error": message, "status": status}, status=status)
    context = {"message": message, "links": links, "status": status}
    return await render_page(datasette, request, "problem.html", context, status=status)
