"""`/manifest.webmanifest`: what a phone needs to keep the station as an app."""

import json
from typing import Any

from datasette import Response

SIZES = (192, 512)


async def show(datasette: Any) -> Response:
    """The station's title and icons, as the W3C's Web Application Manifest has them."""
    station = await datasette.get_instance_metadata()
    urls = datasette.urls
    manifest = {
        "name": station.get("title") or "tmon",
        "short_name": (station.get("title") or "tmon")[:12],
        "description": station.get("description") or "Readings of many small sensors",
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
    }
    return Response(json.dumps(manifest), content_type="application/manifest+json")
