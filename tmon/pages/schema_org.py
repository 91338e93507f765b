"""The data as a schema.org ``Dataset``, for search engines.

All of it comes from metadata.yml and the database; what neither has is left out.
"""

import sqlite3
from asyncio import to_thread
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import unquote, urlencode

from datasette import hookimpl
from datasette.database import QueryInterrupted

from tmon.core import demo
from tmon.core.time import iso
from tmon.pages.public_copies import PublicCopy, copies_dir, newest_copy
from tmon.pages.queries import DATABASE, NOT_AHEAD, run_query
from tmon.pages.responses import absolute_url, node_path

TEMPLATES = frozenset(("home.html", "node.html"))
MAX_STATION_SENSORS = 10_000  # read for the list of variables
MAX_NODE_SENSORS = 500  # with more, a node has no link to all of its readings
MAX_VARIABLES = 30

UNIT_CODES = {"°C": "CEL", "%": "P1", "hPa": "A97", "lx": "LUX", "V": "VLT", "ppm": "59"}

_ENDS = f"""select
    (select measured_ms from readings where {NOT_AHEAD} order by measured_ms limit 1),
    (select measured_ms from readings where {NOT_AHEAD} order by measured_ms desc limit 1),
    (select sensor from readings where {NOT_AHEAD} order by measured_ms desc limit 1)"""

_VARIABLES = f"""select distinct coalesce(quantity, name), unit
from (select quantity, name, unit from sensors limit {MAX_STATION_SENSORS})
order by 1, 2
limit {MAX_VARIABLES}"""

_SENSORS = f"""select id, coalesce(quantity, name) as measures, unit,
    (select min(measured_ms) from readings where sensor = id and {NOT_AHEAD}) as first_ms,
    (select max(measured_ms) from readings where sensor = id and {NOT_AHEAD}) as last_ms
from sensors
where node = :node and name = coalesce(:sensor, name)
order by name
limit {MAX_NODE_SENSORS + 1}"""

_BOX = """select min(latitude), min(longitude), max(latitude), max(longitude)
from nodes
where latitude is not null and longitude is not null"""


class Subject(NamedTuple):
    """What a page is about: a sensor, a node, or with neither the whole station."""

    node: str | None = None
    sensor: str | None = None

    @property
    def name(self) -> str:
        return " ".join(name for name in self if name)


class Extent(NamedTuple):
    """What the data cover: time (Unix ms), space (degrees), and variables with units."""

    description: str | None
    first_ms: int | None
    last_ms: int | None
    is_live: bool  # more readings are expected
    box: Any  # south, west, north, east; None without any coordinates
    variables: list[tuple[str, str | None]]
    selection: dict[str, str] | None  # the filter for the readings; None: too many sensors


@hookimpl
def extra_template_vars(
    template: str | None, datasette: Any, request: Any
) -> Callable[[], Awaitable[dict[str, Any]]] | None:
    """Give home and node pages ``dataset``, for their head."""
    if template not in TEMPLATES:
        return None

    async def variables() -> dict[str, Any]:
        names = [unquote(request.url_vars.get(name) or "") for name in ("node", "sensor")]
        subject = Subject(*(name or None for name in names))
        load = partial(load_node_extent, subject=subject) if subject.node else load_station_extent
        try:
            extent = await run_query(datasette, load)
        except QueryInterrupted:  # the page is worth more than its metadata
            return {}
        station = await datasette.get_instance_metadata()
        copy = None if subject.node else await to_thread(newest_copy, copies_dir(datasette))
        url = partial(absolute_url, datasette, request)
        return {"dataset": describe(subject, extent, station, copy, url)}

    return variables


def describe(
    subject: Subject,
    extent: Extent,
    station: Mapping[str, str],
    copy: PublicCopy | None,
    url: Callable[[str], str],
) -> dict[str, Any]:
    """The ``Dataset``; ``url`` makes an absolute URL of a path."""
    title = station.get("title") or "tmon"
    first, last = (None if at is None else iso(at) for at in (extent.first_ms, extent.last_ms))
    return without_empty(
        {
            "@context": "https://schema.org/",
            "@type": "Dataset",
            "name": f"{subject.name} · {title}" if subject.node else title,
            "description": _description(subject, extent, station),
            "url": url(node_path(subject.node, subject.sensor) if subject.node else "/"),
            "isPartOf": subject.node and {"@type": "Dataset", "name": title, "url": url("/")},
            "license": _license(subject, extent, station),
            "creator": _creator(station),
            "keywords": keywords(station),
            "isAccessibleForFree": True,
            # An ISO 8601 interval, open while readings come in.
            "temporalCoverage": first and f"{first}/{'..' if extent.is_live else last}",
            "dateModified": last,
            "spatialCoverage": _place(extent),
            "variableMeasured": [
                without_empty(
                    {
                        "@type": "PropertyValue",
                        "name": name,
                        "unitText": unit,
                        "unitCode": UNIT_CODES.get(unit or ""),
                    }
                )
                for name, unit in extent.variables
            ],
            "distribution": _downloads(extent, copy, url),
        }
    )


def keywords(station: Mapping[str, str]) -> list[str]:
    """The keywords in metadata.yml, which are separated by commas."""
    words = (word.strip() for word in station.get("keywords", "").split(","))
    return [word for word in words if word]


def without_empty(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, "", [])}


def load_station_extent(connection: sqlite3.Connection) -> Extent:
    first_ms, last_ms, newest = connection.execute(_ENDS).fetchone()
    box = connection.execute(_BOX).fetchone()
    return Extent(
        description=None,
        first_ms=first_ms,
        last_ms=last_ms,
        is_live=_is_live(connection, newest),
        box=None if box[0] is None else tuple(box),
        variables=[tuple(row) for row in connection.execute(_VARIABLES)],
        selection={},
    )


def load_node_extent(connection: sqlite3.Connection, subject: Subject) -> Extent:
    """The extent of a node, or of one of its sensors."""
    sensors = connection.execute(_SENSORS, subject._asdict()).fetchall()
    with_readings = [row for row in sensors if row["last_ms"] is not None]
    newest = max(with_readings, key=lambda row: row["last_ms"], default=None)
    sql = "select description from nodes where name = ?"
    node = connection.execute(sql, [subject.node]).fetchone()
    box = connection.execute(f"{_BOX} and name = ?", [subject.node]).fetchone()
    ids = ",".join(str(row["id"]) for row in sensors)
    variables = sorted({(row["measures"], row["unit"]) for row in sensors}, key=str)
    return Extent(
        description=node["description"],
        first_ms=min((row["first_ms"] for row in with_readings), default=None),
        last_ms=newest and newest["last_ms"],
        is_live=_is_live(connection, newest and newest["id"]),
        box=None if box[0] is None else tuple(box),
        variables=variables[:MAX_VARIABLES],
        selection={"sensor__in": ids} if 0 < len(sensors) <= MAX_NODE_SENSORS else None,
    )


def _is_live(connection: sqlite3.Connection, sensor: int | None) -> bool:
    query = "select silent or history as ended from latest where sensor = ?"
    row = connection.execute(query, [sensor]).fetchone()
    return row is not None and not row["ended"]


def _description(subject: Subject, extent: Extent, station: Mapping[str, str]) -> str | None:
    if not subject.node:
        return station.get("description")
    variables = [f"{name} ({unit})" if unit else name for name, unit in extent.variables]
    measured = f"Readings of {', '.join(variables)} at {subject.node}." if variables else None
    return " ".join(text for text in (measured, extent.description) if text)


def _license(
    subject: Subject, extent: Extent, station: Mapping[str, str]
) -> str | dict[str, str] | None:
    """The owner's choice; the demo has its own."""
    if subject.node and extent.description == demo.DESCRIPTION:
        return demo.LICENSE_URL
    if station.get("license_url") or not station.get("license"):
        return station.get("license_url")
    return {"@type": "CreativeWork", "name": station["license"]}


def _creator(station: Mapping[str, str]) -> dict[str, str] | None:
    if not station.get("creator"):
        return None
    keys = {"@type": "creator_type", "name": "creator", "url": "creator_url"}
    return without_empty({name: station.get(key) for name, key in keys.items()})


def _place(extent: Extent) -> dict[str, Any] | None:
    if extent.box is None:
        return None
    south, west, north, east = extent.box
    geo: dict[str, Any] = {"@type": "GeoShape", "box": f"{south} {west} {north} {east}"}
    if (south, west) == (north, east):
        geo = {"@type": "GeoCoordinates", "latitude": south, "longitude": west}
    return {"@type": "Place", "geo": geo}


def _downloads(
    extent: Extent, copy: PublicCopy | None, url: Callable[[str], str]
) -> list[dict[str, str]]:
    """The readings as CSV and JSON, and the whole database as one file."""

    def download(media_type: str, path: str, **fields: str) -> dict[str, str]:
        entry = {"@type": "DataDownload", "encodingFormat": media_type, "contentUrl": url(path)}
        return {**entry, **fields}

    found = []
    if extent.selection is not None:
        query = urlencode(extent.selection)
        json_query = urlencode({**extent.selection, "_shape": "objects"})
        readings = f"/{DATABASE}/readings"
        found.append(download("text/csv", f"{readings}.csv{'?' * bool(query)}{query}"))
        found.append(download("application/json", f"{readings}.json?{json_query}"))
    if copy:
        details = {
            "contentSize": copy.size,
            "sha256": copy.sha256,
            "dateModified": iso(copy.made_ms),
        }
        found.append(download("application/vnd.sqlite3", "/download/tmon.db", **details))
    return found
