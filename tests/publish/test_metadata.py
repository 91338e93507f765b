"""metadata.yml and datasette.yml tell the truth about the database."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tmon.db.connect import open_database

ROOT = Path(__file__).parents[2]


def _tmon(name: str) -> dict[str, Any]:
    content = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    tmon: dict[str, Any] = content["databases"]["tmon"]
    return tmon


@pytest.fixture
def columns(tmp_path: Path) -> dict[str, set[str]]:
    """Every table and view of a migrated database, with its columns."""
    with open_database(tmp_path / "tmon.db", create=True) as db:
        return {
            name: {row[1] for row in db.execute(f"pragma table_xinfo([{name}])")}
            for name in db.table_names() + db.view_names()
        }


def test_every_table_view_and_column_is_described_and_no_other(
    columns: dict[str, set[str]],
) -> None:
    tables = _tmon("metadata.yml")["tables"]
    assert {name: set(table["columns"]) for name, table in tables.items()} == columns
    for table in tables.values():
        assert table["description"]
        assert all(table["columns"].values())


def test_only_tables_that_exist_are_configured(columns: dict[str, set[str]]) -> None:
    assert set(_tmon("datasette.yml")["tables"]) <= set(columns)


@pytest.mark.parametrize(("name", "query"), _tmon("datasette.yml")["queries"].items())
def test_every_stored_query_says_what_it_is_and_only_reads(name: str, query: Any) -> None:
    assert query["title"]
    assert query["description"]
    assert "write" not in query
    assert name not in _tmon("metadata.yml")["tables"]  # where the table would win
