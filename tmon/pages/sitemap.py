"""robots.txt and the sitemap, for search engines."""

import sqlite3
from asyncio import to_thread
from collections.abc import Iterable
from functools import partial
from typing import Any
from urllib.parse import quote

from datasette import NotFound, Response

from tmon.core.time import iso
from tmon.pages.public_copies import copies_dir, newest_copy
from tmon.pages.queries import DATABASE, newest_reading_ms, run_query
from tmon.pages.responses import absolute_url, node_path

NODES_PER_PART = 40_000  # a sitemap may have 50,000 URLs (sitemaps.org)
HEADERS = {"cache-control": "max-age=3600"}

# The longest rule that matches wins (RFC 9309). With a question mark there are endless
# addresses: spans of time, filters, sort orders, next pages, SQL. The same goes for rows. Sensors
# that somebody has put together are a page of their own.
RULES = """\
User-agent: *
Allow: {root}
Allow: {root}-/$
Allow: {root}-/static/
Allow: {root}static/
Allow: {root}datapackage.json$
Allow: {root}compare?s=
Disallow: {root}compare?*&range=
Disallow: {root}compare?*&from=
Disallow: {root}compare?*&before=
Disallow: {root}-/
Disallow: {root}tmon/*/
Disallow: {root}download/
Disallow: {root}*?
Disallow: {root}*.csv
Disallow: {root}*.json

# They fetch only what people share: the page, and the picture of its chart.
User-agent: Discordbot
User-agent: facebookexternalhit
User-agent: LinkedInBot
User-agent: Slackbot
User-agent: TelegramBot
User-agent: Twitterbot
User-agent: WhatsApp
Disallow:

Sitemap: {sitemap}
"""

Entry = tuple[str, int | None]  # a path, and when its page last changed (Unix ms)


async def robots(datasette: Any, request: Any) -> Response:
    """``/robots.txt``: allows every page, but no variations of it."""
    sitemap_url = absolute_url(datasette, request, "/sitemap.xml")
    text = RULES.format(root=datasette.urls.path("/"), sitemap=sitemap_url)
    return Response.text(text, headers=HEADERS)


async def sitemap(datasette: Any, request: Any) -> Response:
    """``/sitemap.xml``: every page; with too many nodes, an index of partial sitemaps."""
    sql = "select count(*) from nodes"
    nodes = await run_query(datasette, lambda connection: connection.execute(sql).fetchone()[0])
    if nodes <= NODES_PER_PART:
        return await sitemap_part(datasette, request)
    parts = range(-(-nodes // NODES_PER_PART))
    entries: list[Entry] = [(f"/sitemap-{number}.xml", None) for number in parts]
    return await _render(datasette, request, "sitemapindex", "sitemap", entries)


async def sitemap_part(datasette: Any, request: Any) -> Response:
    """``/sitemap-1.xml``: a part of the nodes; part 0 has the other pages as well."""
    number = int(request.url_vars.get("number") or 0)
    entries = await run_query(datasette, partial(_nodes, part=number))
    if number == 0:
        entries = [*await _other_pages(datasette), *entries]
    if not entries:
        raise NotFound("No such part of the sitemap")
    return await _render(datasette, request, "urlset", "url", entries)


def _nodes(connection: sqlite3.Connection, part: int) -> list[Entry]:
    rows = connection.execute(
        "select name, last_received_ms from nodes order by name limit ? offset ?",
        [NODES_PER_PART, part * NODES_PER_PART],
    )
    return [(node_path(name), last_seen_ms) for name, last_seen_ms in rows]


async def _other_pages(datasette: Any) -> list[Entry]:
    """Home, Datasette's index, the download, and every table and view that isn't hidden."""
    db = datasette.get_database(DATABASE)
    hidden = await db.hidden_table_names()
    tables = [*await db.table_names(), *await db.view_names()]
    newest_ms = await run_query(datasette, newest_reading_ms)
    copy = await to_thread(newest_copy, copies_dir(datasette))
    return [
        ("/", newest_ms),
        ("/-/", None),
        *([("/download", copy.made_ms)] if copy else []),
        *((f"/{DATABASE}/{quote(name)}", None) for name in tables if name not in hidden),
    ]


async def _render(
    datasette: Any, request: Any, root: str, entry: str, entries: Iterable[Entry]
) -> Response:
    template = datasette.get_jinja_environment().get_template("sitemap.xml")
    base = absolute_url(datasette, request, "/").removesuffix("/")
    text = await template.render_async(root=root, entry=entry, entries=entries, base=base, iso=iso)
    return Response(text, headers=HEADERS, content_type="application/xml; charset=utf-8")
