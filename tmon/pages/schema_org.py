"""The data as search engines for data sets read it: a schema.org ``Dataset``.

Everything in it is from metadata.yml or the file; what neither tells is left out.
"""

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from tmon.core.time import iso
from tmon.pages.offered import Offered
from tmon.pages.station import NOT_AHEAD, PUBLISHED_AS

MOST_SENSORS = 10_000  # of the station, looked through for what is measured
MOST_OF_NODE = 500  # of a node; with more it has no link to all of its readings
MOST_VARIABLES = 30

UNIT_CODES = {"°C": "CEL", "%": "P1", "hPa": "A97", "lx": "LUX", "V": "VLT", "ppm": "59"}

_ENDS = f"""select
    (select measured_ms from readings where {NOT_AHEAD} order by measured_ms limit 1),
    (select measured_ms from readings where {NOT_AHEAD} order by measured_ms desc limit 1),
    (select sensor from readings where {NOT_AHEAD} order by measured_ms desc limit 1)"""

_VARIABLES = f"""select distinct coalesce(quantity, name), unit
from (select quantity, name, unit from sensors limit {MOST_SENSORS})
order by 1, 2
limit {MOST_VARIABLES}"""

_SENSORS = f"""select id, coalesce(quantity, name) as measures, unit,
    (select min(measured_ms) from readings where sensor = id and {NOT_AHEAD}) as first_ms,
    (select max(measured_ms) from readings where sensor = id and {NOT_AHEAD}) as last_ms
from sensors
where node = :node and name = coalesce(:sensor, name)
order by name
limit {MOST_OF_NODE + 1}"""

_BOX = """select min(latitude), min(longitude), max(latitude), max(longitude)
from nodes
where latitude is not null and longitude is not null"""


class Subject(NamedTuple):
    """What is described: a sensor, without one a node, without either the station."""

    node: str | None = None
    sensor: str | None = None

    @property
    def name(self) -> str:
        return " ".join(name for name in self if name)

    @property
    def path(self) -> str:
        return f"/node/{quote('/'.join(name for name in self if name), '/:')}" if self.node else "/"


class Extent(NamedTuple):
    """How far the data reach: in time (Unix ms), in space (degrees), and in what they are of."""

    description: str | None
    first_ms: int | None
    last_ms: int | None
    goes_on: bool
    box: tuple[float, float, float, float] | None  # south, west, north, east
    variables: list[tuple[str, str | None]]
    selection: dict[str, str] | None  # what the readings are asked for; None: it is too long


def look(conn: sqlite3.Connection, subject: Subject) -> Extent:
    """Read the extent: times by their index, the rest from the two short tables."""
    return _of_node(conn, subject) if subject.node else _of_station(conn)


def dataset(
    subject: Subject, extent: Extent, station: Mapping[str, str], link: Callable[[str], str]
) -> dict[str, Any]:
    """The ``Dataset``; ``link`` makes an absolute address of a path."""
    title = station.get("title") or "tmon"
    return told(
        {
            "@context": "https://schema.org/",
            "@type": "Dataset",
            "name": f"{subject.name} · {title}" if subject.node else title,
            "description": _description(subject, extent, station),
            "url": link(subject.path),
            "isPartOf": subject.node and {"@type": "Dataset", "name": title, "url": link("/")},
            "license": _license(station),
            "creator": _creator(station),
            "keywords": keywords(station),
            "isAccessibleForFree": True,
            "temporalCoverage": _times(extent),
            "dateModified": _at(extent.last_ms),
            "spatialCoverage": _place(extent),
            "variableMeasured": [_variable(name, unit) for name, unit in extent.variables],
            "distribution": _distribution(extent, link),
        }
    )


def keywords(station: Mapping[str, str]) -> list[str]:
    """Those of metadata.yml, which have commas between them."""
    words = (word.strip() for word in station.get("keywords", "").split(","))
    return [word for word in words if word]


def told(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that there is something to tell of."""
    return {name: value for name, value in fields.items() if value not in (None, "", [])}


def _of_station(conn: sqlite3.Connection) -> Extent:
    first_ms, last_ms, newest = conn.execute(_ENDS).fetchone()
    return Extent(
        description=None,
        first_ms=first_ms,
        last_ms=last_ms,
        goes_on=_goes_on(conn, newest),
        box=_box(conn.execute(_BOX).fetchone()),
        variables=[tuple(row) for row in conn.execute(_VARIABLES)],
        selection={},
    )


def _of_node(conn: sqlite3.Connection, subject: Subject) -> Extent:
    sensors = conn.execute(_SENSORS, subject._asdict()).fetchall()
    read = [row for row in sensors if row["last_ms"] is not None]
    newest = max(read, key=lambda row: row["last_ms"], default=None)
    about = conn.execute("select description from nodes where name = ?", [subject.node]).fetchone()
    place = conn.execute(f"{_BOX} and name = ?", [subject.node]).fetchone()
    listed = ",".join(str(row["id"]) for row in sensors)
    return Extent(
        description=about["description"],
        first_ms=min((row["first_ms"] for row in read), default=None),
        last_ms=newest and newest["last_ms"],
        goes_on=_goes_on(conn, newest and newest["id"]),
        box=_box(place),
        variables=sorted({(row["measures"], row["unit"]) for row in sensors}, key=str)[
            :MOST_VARIABLES
        ],
        selection={"sensor__in": listed} if 0 < len(sensors) <= MOST_OF_NODE else None,
    )


def _goes_on(conn: sqlite3.Connection, sensor: int | None) -> bool:
    """Whether the next reading is still to be expected."""
    row = conn.execute("select silent from latest where sensor = ?", [sensor]).fetchone()
    return row is not None and not row["silent"]


def _box(row: Any) -> tuple[float, float, float, float] | None:
    return None if row[0] is None else (row[0], row[1], row[2], row[3])


def _description(subject: Subject, extent: Extent, station: Mapping[str, str]) -> str | None:
    if not subject.node:
        return station.get("description")
    named = [f"{name} ({unit})" if unit else name for name, unit in extent.variables]
    measured = f"Readings of {', '.join(named)} at {subject.node}." if named else None
    return " ".join(text for text in (measured, extent.description) if text)


def whole(offered: Offered, link: Callable[[str], str]) -> dict[str, str]:
    """The whole database as one file, as an entry of ``distribution``."""
    return {
        **_download("application/vnd.sqlite3", link("/download/tmon.db")),
        "contentSize": offered.size,
        "sha256": offered.sha256,
        "dateModified": iso(offered.made_ms),
    }


def _license(station: Mapping[str, str]) -> str | dict[str, str] | None:
    if station.get("license_url") or not station.get("license"):
        return station.get("license_url")
    return {"@type": "CreativeWork", "name": station["license"]}


def _creator(station: Mapping[str, str]) -> dict[str, str] | None:
    if not station.get("creator"):
        return None
    keys = {"@type": "creator_type", "name": "creator", "url": "creator_url"}
    return told({name: station.get(key) for name, key in keys.items()})


def _times(extent: Extent) -> str | None:
    """An interval as ISO 8601 has it, open where measuring goes on."""
    if extent.first_ms is None:
        return None
    return f"{_at(extent.first_ms)}/{'..' if extent.goes_on else _at(extent.last_ms)}"


def _at(instant_ms: int | None) -> str | None:
    return None if instant_ms is None else iso(instant_ms)


def _place(extent: Extent) -> dict[str, Any] | None:
    if extent.box is None:
        return None
    south, west, north, east = extent.box
    geo: dict[str, Any] = {"@type": "GeoShape", "box": f"{south} {west} {north} {east}"}
    if (south, west) == (north, east):
        geo = {"@type": "GeoCoordinates", "latitude": south, "longitude": west}
    return {"@type": "Place", "geo": geo}


def _variable(name: str, unit: str | None) -> dict[str, Any]:
    code = UNIT_CODES.get(unit or "")
    return told({"@type": "PropertyValue", "name": name, "unitText": unit, "unitCode": code})


def _distribution(extent: Extent, link: Callable[[str], str]) -> list[dict[str, str]] | None:
    """Where all of the readings are."""
    if extent.selection is None:
        return None
    csv = f"/{PUBLISHED_AS}/readings.csv"
    if extent.selection:
        csv += f"?{urlencode(extent.selection)}"
    json = urlencode({**extent.selection, "_shape": "objects"})
    return [
        _download("text/csv", link(csv)),
        _download("application/json", link(f"/{PUBLISHED_AS}/readings.json?{json}")),
    ]


def _download(form: str, url: str) -> dict[str, str]:
    return {"@type": "DataDownload", "encodingFormat": form, "contentUrl": url}
