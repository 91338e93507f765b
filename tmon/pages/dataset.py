"""What tells machines of the data: schema.org, Frictionless, robots and the sitemap."""

from asyncio import to_thread
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from urllib.parse import unquote

from datasette import hookimpl
from datasette.database import QueryInterrupted

from tmon.pages import crawlers, package, schema_org
from tmon.pages.offered import folder_of, newest
from tmon.pages.station import address, ask

DESCRIBED = frozenset(("home.html", "node.html"))


@hookimpl
def register_routes() -> list[tuple[str, Any]]:
    """What machines ask for by these names."""
    return [
        (r"/datapackage\.json$", package.show),
        (r"/robots\.txt$", crawlers.robots),
        (r"/sitemap\.xml$", crawlers.sitemap),
        (r"/sitemap-(?P<number>\d{1,4})\.xml$", crawlers.part_of_sitemap),
    ]


@hookimpl
def extra_template_vars(
    template: str | None, datasette: Any, request: Any
) -> Callable[[], Awaitable[dict[str, Any]]] | None:
    """``dataset`` for the pages that have one in their head."""
    if template not in DESCRIBED:
        return None

    async def variables() -> dict[str, Any]:
        names = [unquote(request.url_vars.get(name) or "") for name in ("node", "sensor")]
        subject = schema_org.Subject(*(name or None for name in names))
        try:
            extent = await ask(datasette, lambda conn: schema_org.look(conn, subject))
        except QueryInterrupted:  # people come first
            return {}
        station = await datasette.get_instance_metadata()
        link = partial(address, datasette, request)
        described = schema_org.dataset(subject, extent, station, link)
        offered = None if subject.node else await to_thread(newest, folder_of(datasette))
        if offered:
            described["distribution"].append(schema_org.whole(offered, link))
        return {"dataset": described}

    return variables
