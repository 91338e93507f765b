"""What Datasette's pages list: tables, stored queries, and what their fields offer."""

import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from datasette import hookimpl

from tmon.core.languages import N_, gettext
from tmon.pages.languages import Metadata, translated
from tmon.pages.queries import DATABASE, run_query

# What the field of a stored query offers; other names can be typed too.
CHOICES = {
    "node": "select name from nodes order by name limit 500",
    "sensor": "select distinct name from sensors order by name limit 500",
    "code": "select distinct code from rejected order by code limit 500",
}
# Stands on the SQL page until something else is asked.
EXAMPLE = N_("Each sensor's last seven days: lowest, mean, highest")
EXAMPLE_SQL = """\
select label, day, min, round(mean, 2) as mean, max, unit
from daily join sensors on sensors.id = daily.sensor
where day > date('now', '-7 days')
order by day desc, label"""

Variables = Mapping[str, Any]


@hookimpl
def startup(datasette: Any) -> Callable[[], Awaitable[None]]:
    """Give every template ``station``, the metadata of the whole; it stays while Datasette runs."""

    async def load() -> None:
        environment = datasette.get_jinja_environment()
        station = Metadata(await datasette.get_instance_metadata())
        environment.globals["station"] = station

    return load


@hookimpl
def extra_template_vars(
    view_name: str, datasette: Any, request: Any
) -> Callable[[], Awaitable[Variables]]:
    """Give the pages of the database and of queries ``contents``."""

    async def variables() -> Variables:
        if view_name != "database":
            return {}
        hidden = set(await datasette.get_database(DATABASE).hidden_table_names())
        descriptions = await _descriptions(datasette)
        contents = {
            "queries": await _queries(datasette, request),
            "tables": {
                name: translated(text) for name, text in descriptions.items() if name not in hidden
            },
            "corrected": [name for name in descriptions if name.endswith("_clean")],
        }
        return {
            "contents": contents,
            "choices_for": partial(_choices, datasette),
            "example_sql": f"-- {gettext(EXAMPLE)}\n{EXAMPLE_SQL}",
        }

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


async def _choices(datasette: Any, parameter: str) -> list[str]:
    """The values that are offered for a parameter of a stored query."""
    sql = CHOICES.get(parameter)
    if sql is None:
        return []

    def load(connection: sqlite3.Connection) -> list[str]:
        return [value for (value,) in connection.execute(sql)]

    return await run_query(datasette, load)
