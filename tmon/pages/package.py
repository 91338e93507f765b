"""The tables as a Frictionless Data Package (specs.frictionlessdata.io, version 1).

Its paths are relative: it describes the CSV exports of the server, and the same files after they
were downloaded to a folder.
"""

import json
import re
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from datasette import Response

from tmon.core.time import iso
from tmon.pages.queries import DATABASE, newest_reading_ms, run_query
from tmon.pages.responses import absolute_url
from tmon.pages.schema_org import keywords, without_empty

# A table comes before those that it refers to: a sensor that is added during a download is then
# in both files.
TABLES = ("readings", "hourly", "daily", "calibrations", "flags", "notes", "sensors", "nodes")

# SQLite knows no keys of views.
VIEW_KEYS = {"hourly": ["sensor", "hour_ms"], "daily": ["sensor", "day_ms"]}
VIEW_TABLES = {"hourly": "hours", "daily": "hours"}

TYPES = {"INTEGER": "integer", "REAL": "number", "TEXT": "string"}
# Computed columns, of which SQLite knows no types.
COMPUTED = {
    "measured_at": {"type": "datetime", "format": "%Y-%m-%dT%H:%M:%S.%fZ"},
    "day_ms": {"type": "integer"},
    "day": {"type": "date"},
    "n": {"type": "integer"},
    **{name: {"type": "number"} for name in ("mean", "min", "max", "sum")},
}

Descriptions = Mapping[tuple[str, str], str]


class Table(NamedTuple):
    """A table or view, from ``table_xinfo`` and ``foreign_key_list``."""

    name: str
    columns: Sequence[Any]
    references: Sequence[Any]


async def show(datasette: Any, request: Any) -> Response:
    """``/datapackage.json``."""
    tables, newest_ms = await run_query(datasette, _load_tables)
    station = await datasette.get_instance_metadata()
    described = await _descriptions(datasette)
    package = {
        "profile": "tabular-data-package",
        "name": DATABASE,
        **without_empty({"title": station.get("title"), "description": station.get("description")}),
        "homepage": absolute_url(datasette, request),
        **without_empty(
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


def _load_tables(connection: sqlite3.Connection) -> tuple[list[Table], int | None]:
    """The tables, and when the newest reading was measured (Unix ms)."""
    tables = [
        Table(
            name,
            connection.execute(f"pragma table_xinfo({name})").fetchall(),
            connection.execute(
                f"pragma foreign_key_list({VIEW_TABLES.get(name, name)})"
            ).fetchall(),
        )
        for name in TABLES
    ]
    return tables, newest_reading_ms(connection)


async def _descriptions(datasette: Any) -> Descriptions:
    """Descriptions in metadata.yml by table and column; a table's own has the column ""."""
    rows = await datasette.get_internal_database().execute(
        "select resource_name, column_name, value from metadata_columns"
        " where database_name = :name and key = 'description'"
        " union all select resource_name, '', value from metadata_resources"
        " where database_name = :name and key = 'description'",
        {"name": DATABASE},
    )
    return {(row[0], row[1]): row[2] for row in rows}


def _licenses(station: Mapping[str, str]) -> list[dict[str, str]]:
    """Names as opendefinition.org/licenses has them: ``CC BY 4.0`` is CC-BY-4.0 there."""
    title = station.get("license", "")
    name = re.sub(r"[^A-Za-z0-9.]+", "-", title).strip("-")
    licence = without_empty({"name": name, "title": title, "path": station.get("license_url")})
    return [licence] if "name" in licence or "path" in licence else []


def _titled(station: Mapping[str, str], key: str) -> list[dict[str, str]]:
    """A source or contributor; the specification requires a title."""
    title, path = station.get(key), station.get(f"{key}_url")
    return [without_empty({"title": title, "path": path})] if title else []


def _resource(table: Table, described: Descriptions) -> dict[str, Any]:
    return {
        "profile": "tabular-data-resource",
        "name": table.name,
        **without_empty({"description": described.get((table.name, ""))}),
        "path": f"{DATABASE}/{table.name}.csv",
        "format": "csv",
        "mediatype": "text/csv",
        "encoding": "utf-8",
        "schema": _schema(table, described),
    }


def _schema(table: Table, described: Descriptions) -> dict[str, Any]:
    of_key = sorted((column for column in table.columns if column["pk"]), key=lambda one: one["pk"])
    key = VIEW_KEYS.get(table.name) or [column["name"] for column in of_key]
    fields = [
        {
            "name": column["name"],
            **(COMPUTED.get(column["name"]) or {"type": TYPES[column["type"]]}),
            **without_empty({"description": described.get((table.name, column["name"]))}),
            **({"constraints": {"required": True}} if required else {}),
        }
        for column in table.columns
        for required in [column["notnull"] or column["name"] in key]
    ]
    return without_empty(
        {
            "fields": fields,
            "primaryKey": key,
            "foreignKeys": [
                {
                    "fields": one["from"],
                    "reference": {"resource": one["table"], "fields": one["to"]},
                }
                for one in table.references
            ],
        }
    )
