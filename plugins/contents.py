"""What there is to see: the queries and tables, with their descriptions, on `/` and `/tmon`."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from datasette import hookimpl

PUBLISHED_AS = "tmon"
Contents = Mapping[str, Any]


@hookimpl
def extra_template_vars(
    view_name: str, datasette: Any, request: Any
) -> Callable[[], Awaitable[Contents]] | None:
    """``contents`` for our templates of the two pages that tell what there is."""
    if view_name not in {"index", "database"}:
        return None

    async def contents() -> Contents:
        queries = await datasette.list_queries(PUBLISHED_AS, actor=request.actor, limit=100)
        return {
            "contents": {
                "queries": queries.queries,
                "tables": await _descriptions(datasette),
                "hidden": await datasette.get_database(PUBLISHED_AS).hidden_table_names(),
            }
        }

    return contents


async def _descriptions(datasette: Any) -> Mapping[str, str]:
    """Tables and views with what metadata.yml says about them, in its order."""
    rows = await datasette.get_internal_database().execute(
        "select resource_name, value from metadata_resources"
        " where database_name = ? and key = 'description' order by rowid",
        (PUBLISHED_AS,),
    )
    return {row["resource_name"]: row["value"] for row in rows}
