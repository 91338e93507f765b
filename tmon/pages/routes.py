"""Every page and file of ours, by its path."""

import re
from collections.abc import Callable
from typing import Any

from datasette import NotFound, Response, hookimpl

from tmon.core.languages import gettext
from tmon.pages import (
    compare,
    download,
    feed,
    home,
    manifest,
    node,
    package,
    prometheus,
    refused,
    sitemap,
    station_map,
    year,
)
from tmon.pages.public_copies import NAME_PATTERN, NEWEST_NAME

NODE = r"/node/(?P<node>[^/.]+)"
COPY = rf"/download/(?P<name>{re.escape(NEWEST_NAME)}|{NAME_PATTERN})"


async def not_published() -> Response:
    """Datasette's list of databases would show where the file is on the server."""
    raise NotFound(gettext("Not published"))


ROUTES: tuple[tuple[str, Callable[..., Any]], ...] = (
    (r"^/$", home.show),  # Datasette's own index stays at /-/
    (rf"{NODE}(?P<format>\.json|\.csv)?$", node.show),
    (rf"{NODE}/(?P<sensor>.+?)(?P<format>\.json|\.svg|\.png|\.csv)?$", node.show),
    (r"/refused$", refused.show),
    (r"/compare(?P<format>\.json|\.svg|\.png|\.csv)?$", compare.show),
    (r"/year/(?P<node>[^/.]+)/(?P<sensor>.+?)(?P<format>\.svg)?$", year.show),
    (r"/map$", station_map.show),
    (r"/manifest\.webmanifest$", manifest.show),
    (r"/incidents\.atom$", feed.show),
    (r"/download$", download.show),
    (rf"{COPY}$", download.send_file),
    (rf"{COPY}\.sha256$", download.send_digest),
    (r"/datapackage\.json$", package.show),
    (r"/robots\.txt$", sitemap.robots),
    (r"/sitemap\.xml$", sitemap.sitemap),
    (r"/sitemap-(?P<number>\d{1,4})\.xml$", sitemap.sitemap_part),
    (r"/-/prometheus$", prometheus.show),
    (r"/-/databases(\.json)?$", not_published),
)


@hookimpl
def register_routes() -> list[tuple[str, Callable[..., Any]]]:
    return [*ROUTES]
