"""The Data Package describes the CSV exports as they are: columns, types and keys."""

import csv
import io
import re
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.publish.published import HOSTILE, MARCH_MS, Serve, Site, fill
from tmon.db.connect import open_database
from tmon.maintenance import notes

TYPES: dict[str, Callable[[str, dict[str, Any]], object]] = {
    "integer": lambda text, _: int(text),
    "number": lambda text, _: float(text),
    "string": lambda text, _: text,
    "date": lambda text, _: date.fromisoformat(text),
    "datetime": lambda text, field: datetime.strptime(text, field["format"]),  # noqa: DTZ007
}


@pytest.fixture(scope="module")
def tables(
    serve: Serve, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[dict[str, Any], list[dict[str, str]]]]:
    """Each resource of the package: its schema, and its rows as they are downloaded."""
    path = tmp_path_factory.mktemp("package") / "tmon.db"
    with open_database(path, create=True) as db:
        fill(db)
        for about in ("attic", "attic/temperature"):
            notes.add_note(db, about, HOSTILE, MARCH_MS, MARCH_MS)
    site = serve(path)
    package = site.get("/datapackage.json").json()
    found = {}
    for resource in package["resources"]:
        answer = site.get(f"/{resource['path']}")
        assert answer.status_code == 200
        rows = list(csv.reader(io.StringIO(answer.text, newline="")))
        schema = resource["schema"]
        assert rows[0] == [field["name"] for field in schema["fields"]]
        found[resource["name"]] = (
            schema,
            [dict(zip(rows[0], row, strict=True)) for row in rows[1:]],
        )
    return found


def test_every_value_of_the_package_is_of_its_type(tables: Any) -> None:
    assert set(tables) == {
        *("readings", "hourly", "daily", "calibrations", "flags", "notes", "sensors", "nodes")
    }
    for name, (schema, rows) in tables.items():
        assert rows or name in {"calibrations", "flags"}
        for field in schema["fields"]:
            texts = [row[field["name"]] for row in rows]
            assert field["description"]
            assert all(texts) or not field.get("constraints", {}).get("required")
            for text in filter(None, texts):
                TYPES[field["type"]](text, field)


def test_keys_of_the_package_hold(tables: Any) -> None:
    for schema, rows in tables.values():
        keys = [tuple(row[name] for name in schema["primaryKey"]) for row in rows]
        assert len(set(keys)) == len(keys)
        for key in schema.get("foreignKeys", []):
            there = key["reference"]
            known = {row[there["fields"]] for row in tables[there["resource"]][1]}
            assert {row[key["fields"]] for row in rows if row[key["fields"]]} <= known
    referring = {name for name, (schema, _) in tables.items() if schema.get("foreignKeys")}
    assert referring == {"readings", "hourly", "daily", "calibrations", "flags", "notes", "sensors"}


@pytest.mark.parametrize(
    ("told", "licence"),
    [
        ("license: CC0 1.0", {"name": "CC0-1.0", "title": "CC0 1.0"}),
        ("license_url: https://example.org/", {"path": "https://example.org/"}),
        ("title: Unlicensed", None),
    ],
)
def test_a_licence_has_the_name_that_the_specification_asks_for(
    serve: Serve, tmp_path: Path, told: str, licence: dict[str, str] | None
) -> None:
    open_database(tmp_path / "tmon.db", create=True).close()
    (tmp_path / "metadata.yml").write_text(f"{told}\ncreator: Jane\nsource: the roof\n")
    package = serve(tmp_path / "tmon.db").get("/datapackage.json").json()
    assert package.get("licenses") == (licence and [licence])
    assert package["contributors"] == [{"title": "Jane"}]
    assert package["sources"] == [{"title": "the roof"}]
    assert "created" not in package


def test_the_package_is_of_the_shape_that_the_specification_asks_for(site: Site) -> None:
    package = site.get("/datapackage.json").json()
    assert package["profile"] == "tabular-data-package"
    assert re.fullmatch(r"[-a-z0-9._/]+", package["name"])
    assert "licenses" not in package  # until the owner chooses one
    [newest] = site.values("select max(measured_at) from readings")
    assert package["created"] == newest.replace(".000Z", "Z")
    for resource in package["resources"]:
        assert resource["profile"] == "tabular-data-resource"
        assert resource["description"]
        # Relative, so that a folder with the files is a package too.
        assert resource["path"] == f"tmon/{resource['name']}.csv"
