"""`/manifest.webmanifest`: what a phone needs to keep the station as an app."""

import json
from typing import Any

from datasette import Response

from tmon.core.languages import gettext, language
from tmon.pages.languages import Metadata

SIZES = (192, 512)


async def show(datasette: Any) -> Response:
    """The station's title and icons, as the W3C's Web Application Manifest has them."""
    station = Metadata(await datasette.get_instance_metadata())
    title = station["title"] if station.get("title") else "tmon"
    urls = datasette.urls
    manifest = {
        "lang": language.get(),
        "name": title,
        "short_name": title[:12],
        "description": station["description"]
        if station.get("description")
        else gettext("Readings of many small sensors"),
        "start_url": urls.instance(),
        "scope": urls.instance(),
        "display": "standalone",
        "background_color": "#fbfbf9",
        "theme_color": "#0969b3",
        "icons": [
            {
                "src": urls.path(f"/static/icon-{size}.png"),
                "sizes": f"{size}x{size}",
                "type": "image/png",
                "purpose": "any maskable",
            }
            for size in SIZES
        ],
        "shortcuts": [
            {"name": gettext("Compare"), "url": urls.path("/compare")},
            {"name": gettext("Tables and queries"), "url": urls.database("tmon")},
            {"name": gettext("Refused readings"), "url": urls.path("/refused")},
        ],
    }
    return Response(json.dumps(manifest), content_type="application/manifest+json")
