"""The tables as a Frictionless Data Package (specs.frictionlessdata.io, version 1).

Its paths are the CSV exports, relative to it: it describes the files of a folder
that they were downloaded to as well as those of the server.
"""

import json
import re
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from datasette import Response

from tmon.core.time import iso
from tmon.pages.schema_org import keywords, told
from tmon.pages.station import NOT_AHEAD, PUBLISHED_AS, address, ask

# What refers to a table comes before it: a sensor that is new between two downloads
# is then in the later one.
TABLES = ("readings", "hourly", "daily", "calibrations", "flags", "sensors", "nodes")

# What a view can't tell as a table does.
KEY_OF_VIEW = {"hourly": ["sensor", "hour_ms"], "daily": ["sensor", "day_ms"]}
MADE_OF = {"hourly": "hours", "daily": "hours"}

TYPES = {"INTEGER": "integer", "REAL": "number", "TEXT": "string"}
# Of what is computed; in a view SQLite knows no types.
COMPUTED = {
    "measured_at": {"type": "datetime", "format": "%Y-%m-%dT%H:%M:%S.%fZ"},
    "day_ms": {"type": "integer"},
    "day": {"type": "date"},
    "n": {"type": "integer"},
    **{name: {"type": "number"} for name in ("mean", "min", "max", "sum")},
}

Descriptions = Mapping[tuple[str, str], str]


class Table(NamedTuple):
    """A table or view as SQLite tells it: ``table_xinfo`` and ``foreign_key_list``."""

    name: str
    columns: Sequence[Any]
    references: Sequence[Any]


async def show(datasette: Any, request: Any) -> Response:
    """``/datapackage.json``."""
    tables, newest_ms = await ask(datasette, _look)
    station = await datasette.get_instance_metadata()
    described = await _descriptions(datasette)
    package = {
        "profile": "tabular-data-package",
        "name": PUBLISHED_AS,
        **told({"title": station.get("title"), "description": station.get("description")}),
        "homepage": address(datasette, request),
        **told(
            {
                "created": newest_ms and iso(newest_ms),
                "keywords": keywords(station),
                "licenses": _licenses(station),
                "sources": _titled(station, "source"),
                "contributors": _titled(station, "creator"),
            }
        ),
        "resources": [_resource(table, described) for table in tables],
    }
    text = json.dumps(package, indent=2, ensure_ascii=False)
    return Response(text, content_type="application/json; charset=utf-8")


def _look(conn: sqlite3.Connection) -> tuple[list[Table], int | None]:
    """The tables, and the instant of the newest reading (Unix ms)."""
    tables = [
        Table(
            name,
            conn.execute(f"pragma table_xinfo({name})").fetchall(),
            conn.execute(f"pragma foreign_key_list({MADE_OF.get(name, name)})").fetchall(),
        )
        for name in TABLES
    ]
    newest = conn.execute(f"select max(measured_ms) from readings where {NOT_AHEAD}")
    return tables, newest.fetchone()[0]


async def _descriptions(datasette: Any) -> Descriptions:
    """What metadata.yml says about each table and column; a table's own is under no column."""
    rows = await datasette.get_internal_database().execute(
        "select resource_name, column_name, value from metadata_columns"
        " where database_name = :name and key = 'description'"
        " union all select resource_name, '', value from metadata_resources"
        " where database_name = :name and key = 'description'",
        {"name": PUBLISHED_AS},
    )
    return {(row[0], row[1]): row[2] for row in rows}


def _licenses(station: Mapping[str, str]) -> list[dict[str, str]]:
    """``CC BY 4.0`` has the name CC-BY-4.0 at opendefinition.org/licenses, and so others."""
    title = station.get("license", "")
    name = re.sub(r"[^A-Za-z0-9.]+", "-", title).strip("-")
    licence = told({"name": name, "title": title, "path": station.get("license_url")})
    return [licence] if "name" in licence or "path" in licence else []


def _titled(station: Mapping[str, str], key: str) -> list[dict[str, str]]:
    """A source or contributor, which has to have a title."""
    title, path = station.get(key), station.get(f"{key}_url")
    return [told({"title": title, "path": path})] if title else []


def _resource(table: Table, described: Descriptions) -> dict[str, Any]:
    return {
        "profile": "tabular-data-resource",
        "name": table.name,
        **told({"description": described.get((table.name, ""))}),
        "path": f"{PUBLISHED_AS}/{table.name}.csv",
        "format": "csv",
        "mediatype": "text/csv",
        "encoding": "utf-8",
        "schema": _schema(table, described),
    }


def _schema(table: Table, described: Descriptions) -> dict[str, Any]:
    of_key = sorted((column for column in table.columns if column["pk"]), key=lambda one: one["pk"])
    key = KEY_OF_VIEW.get(table.name) or [column["name"] for column in of_key]
    fields = [
        {
            "name": column["name"],
            **_type(column),
            **told({"description": described.get((table.name, column["name"]))}),
            **({"constraints": {"required": True}} if _required(column, key) else {}),
        }
        for column in table.columns
    ]
    return told(
        {
            "fields": fields,
            "primaryKey": key,
            "foreignKeys": [_foreign_key(reference) for reference in table.references],
        }
    )


def _type(column: Any) -> dict[str, str]:
    return COMPUTED.get(column["name"]) or {"type": TYPES[column["type"]]}


def _required(column: Any, key: Sequence[str]) -> bool:
    return bool(column["notnull"]) or column["name"] in key


def _foreign_key(reference: Any) -> dict[str, Any]:
    there = {"resource": reference["table"], "fields": reference["to"]}
    return {"fields": reference["from"], "reference": there}
