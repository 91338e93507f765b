"""What there is to see, on `/tmon`; whose it is, and under which licence, on every page."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from datasette import hookimpl

PUBLISHED_AS = "tmon"
Variables = Mapping[str, Any]


@hookimpl
def extra_template_vars(
    view_name: str, datasette: Any, request: Any
) -> Callable[[], Awaitable[Variables]]:
    """``station`` for every page's footer, ``contents`` for the one that tells what there is."""

    async def variables() -> Variables:
        station = {"station": await datasette.get_instance_metadata()}
        if view_name != "database":
            return station
        return {**station, "contents": await _contents(datasette, request)}

    return variables


async def _contents(datasette: Any, request: Any) -> Variables:
    return {
        "queries": await _queries(datasette, request),
        "tables": await _descriptions(datasette),
        "hidden": await datasette.get_database(PUBLISHED_AS).hidden_table_names(),
    }


async def _queries(datasette: Any, request: Any) -> list[Any]:
    """The stored queries, in the order of datasette.yml."""
    listed = await datasette.list_queries(PUBLISHED_AS, actor=request.actor, limit=100)
    named = {query.name: query for query in listed.queries}
    ours = (datasette.config or {}).get("databases", {}).get(PUBLISHED_AS, {}).get("queries", {})
    return [named.pop(name) for name in ours if name in named] + list(named.values())


async def _descriptions(datasette: Any) -> Mapping[str, str]:
    """Tables and views with what metadata.yml says about them, in its order."""
    rows = await datasette.get_internal_database().execute(
        "select resource_name, value from metadata_resources"
        " where database_name = ? and key = 'description' order by rowid",
        (PUBLISHED_AS,),
    )
    return {row["resource_name"]: row["value"] for row in rows}
