"""What search engines read before the pages: where not to go, and which pages there are."""

import sqlite3
from asyncio import to_thread
from collections.abc import Iterable
from functools import partial
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape

from datasette import NotFound, Response

from tmon.core.time import iso
from tmon.pages.offered import folder_of, newest
from tmon.pages.station import NOT_AHEAD, PUBLISHED_AS, address, ask

NODES_EACH = 40_000  # of a sitemap, which may have 50,000 addresses (sitemaps.org)
XMLNS = "http://www.sitemaps.org/schemas/sitemap/0.9"
KEPT = {"cache-control": "max-age=3600"}

# The longest rule that matches holds (RFC 9309). What is asked for with a question mark
# has no end: spans of time, filters, orders, pages after pages, SQL. Nor have single rows.
RULES = """\
User-agent: *
Allow: {root}
Allow: {root}-/$
Allow: {root}-/static/
Allow: {root}static/
Allow: {root}datapackage.json$
Disallow: {root}-/
Disallow: {root}tmon/*/
Disallow: {root}download/
Disallow: {root}*?
Disallow: {root}*.csv
Disallow: {root}*.json

Sitemap: {sitemap}
"""

Entry = tuple[str, int | None]  # a path, and when its page last changed (Unix ms)


async def robots(datasette: Any, request: Any) -> Response:
    """``/robots.txt``: all pages, none of their variations."""
    there = address(datasette, request, "/sitemap.xml")
    text = RULES.format(root=datasette.urls.path("/"), sitemap=there)
    return Response.text(text, headers=KEPT)


async def sitemap(datasette: Any, request: Any) -> Response:
    """``/sitemap.xml``: every page, or where there are too many, the sitemaps that have them."""
    nodes = await ask(datasette, _count_nodes)
    if nodes <= NODES_EACH:
        return await part_of_sitemap(datasette, request)
    parts = range(-(-nodes // NODES_EACH))
    entries = [(f"/sitemap-{number}.xml", None) for number in parts]
    return _xml(datasette, request, "sitemapindex", "sitemap", entries)


async def part_of_sitemap(datasette: Any, request: Any) -> Response:
    """``/sitemap-1.xml``: the nodes of one part; the other pages are in part 0."""
    number = int(request.url_vars.get("number") or 0)
    entries = await ask(datasette, partial(_nodes, part=number))
    if number == 0:
        entries = [*await _others(datasette), *entries]
    if not entries:
        raise NotFound("No such part of the sitemap")
    return _xml(datasette, request, "urlset", "url", entries)


def _count_nodes(conn: sqlite3.Connection) -> int:
    count: int = conn.execute("select count(*) from nodes").fetchone()[0]
    return count


def _nodes(conn: sqlite3.Connection, part: int) -> list[Entry]:
    found = conn.execute(
        "select name, last_received_ms from nodes order by name limit ? offset ?",
        [NODES_EACH, part * NODES_EACH],
    )
    return [(f"/node/{quote(name, ':')}", heard_ms) for name, heard_ms in found]


async def _others(datasette: Any) -> list[Entry]:
    """Home, the index of tables and questions, the download, and every table that is listed."""
    db = datasette.get_database(PUBLISHED_AS)
    hidden = await db.hidden_table_names()
    tables = [*await db.table_names(), *await db.view_names()]
    listed = [f"/{PUBLISHED_AS}/{quote(name)}" for name in tables if name not in hidden]
    newest_ms = await ask(datasette, _newest_ms)
    offered = await to_thread(newest, folder_of(datasette))
    download = [("/download", offered.made_ms)] if offered else []
    return [("/", newest_ms), ("/-/", None), *download, *((path, None) for path in listed)]


def _newest_ms(conn: sqlite3.Connection) -> int | None:
    newest = conn.execute(f"select max(measured_ms) from readings where {NOT_AHEAD}")
    newest_ms: int | None = newest.fetchone()[0]
    return newest_ms


def _xml(datasette: Any, request: Any, kind: str, entry: str, entries: Iterable[Entry]) -> Response:
    root = address(datasette, request, "/").removesuffix("/")
    listed = "".join(
        f"<{entry}><loc>{escape(root + path)}</loc>{_changed(at_ms)}</{entry}>\n"
        for path, at_ms in entries
    )
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<{kind} xmlns="{XMLNS}">\n{listed}</{kind}>\n'
    return Response(text, headers=KEPT, content_type="application/xml; charset=utf-8")


def _changed(at_ms: int | None) -> str:
    return "" if at_ms is None else f"<lastmod>{iso(at_ms)}</lastmod>"
