"""The lists of tables and queries on `/tmon`, and the station's metadata for every page."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from datasette import hookimpl

from tmon.pages.queries import DATABASE

Variables = Mapping[str, Any]


@hookimpl
def extra_template_vars(
    view_name: str, datasette: Any, request: Any
) -> Callable[[], Awaitable[Variables]]:
    """Give every page ``station``, and the page of the database ``contents``."""

    async def variables() -> Variables:
        station = {"station": await datasette.get_instance_metadata()}
        if view_name != "database":
            return station
        contents = {
            "queries": await _queries(datasette, request),
            "tables": await _descriptions(datasette),
            "hidden": await datasette.get_database(DATABASE).hidden_table_names(),
        }
        return {**station, "contents": contents}

    return variables


async def _queries(datasette: Any, request: Any) -> list[Any]:
    """The stored queries, in the order of datasette.yml."""
    listed = await datasette.list_queries(DATABASE, actor=request.actor, limit=100)
    named = {query.name: query for query in listed.queries}
    ours = (datasette.config or {}).get("databases", {}).get(DATABASE, {}).get("queries", {})
    return [named.pop(name) for name in ours if name in named] + list(named.values())


async def _descriptions(datasette: Any) -> Mapping[str, str]:
    """The descriptions of tables and views in metadata.yml, in its order."""
    rows = await datasette.get_internal_database().execute(
        "select resource_name, value from metadata_resources"
        " where database_name = ? and key = 'description' order by rowid",
        (DATABASE,),
    )
    return {row["resource_name"]: row["value"] for row in rows}
