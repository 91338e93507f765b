"""The home page: every sensor's newest reading by node, or how to send the first one."""

import asyncio
from functools import cache
from time import monotonic
from typing import Any, NamedTuple
from urllib.parse import urlencode

from datasette import Response
from datasette.database import QueryInterrupted
from markupsafe import Markup

from tmon.core.time import iso, now_ms
from tmon.pages import cells
from tmon.pages.home_data import (
    MAX_SENSORS,
    MAX_TERMS,
    HomeData,
    HomeQuery,
    SensorRow,
    load_home,
)
from tmon.pages.queries import DATABASE, query_threads, run_query
from tmon.pages.responses import check_parameters, ingest_url, node_path, render_page

CHEAP_LIMIT_MS = 5000  # for a query of one page, which is slow only on a busy machine
LATEST_COLUMNS = ("sensor", "measured_ms", "value", "unit", "silent")  # that home.js reads


class Line(NamedTuple):
    """A sensor as the template shows it: values in the chosen unit, and exact in their own."""

    id: int
    name: str
    href: str
    silent: int
    now: str
    shown_unit: str
    exact: float
    unit: str
    age: str
    measured_at: str
    day: tuple[str, str, float, float, str] | None  # low and high, both exact, and the path


async def show(datasette: Any, request: Any) -> Response:
    """``/``. Requests for the same address at the same time share one rendering."""
    check_parameters(request)
    rendering = _rendering(datasette)
    key = (request.scheme, request.host, request.full_path)
    if key not in rendering:
        rendering[key] = asyncio.ensure_future(_render(datasette, request))
        rendering[key].add_done_callback(lambda _: rendering.pop(key))
    context = await asyncio.shield(rendering[key])
    return await render_page(datasette, request, "home.html", context)


@cache
def _rendering(datasette: Any) -> dict[tuple[str, ...], asyncio.Future[dict[str, Any]]]:  # noqa: ARG001
    """The renderings that run now, for each Datasette."""
    return {}


async def _render(datasette: Any, request: Any) -> dict[str, Any]:
    """What the address asks for; if that takes too long, the first page with a note."""
    silent_first = request.args.get("sort") == "silent"
    query = HomeQuery(
        terms=(request.args.get("q") or "").split()[:MAX_TERMS],
        after="" if silent_first else request.args.get("after") or "",
        silent_first=silent_first,
        raw=request.args.get("values") == "raw",
    )
    at_ms = now_ms()
    too_slow = False
    try:
        home = await _load(datasette, query, at_ms)
    except QueryInterrupted:
        if query.is_cheap:
            raise
        too_slow, query = True, HomeQuery(raw=query.raw)
        home = await _load(datasette, query, at_ms)
    context = _context(datasette, request, query, home)
    template = _sync_environment(datasette.get_jinja_environment()).get_template("_home_board.html")
    html = template.render(context, at_ms=at_ms, too_slow=too_slow)
    return {"board": Markup(html), "first": context["first"]}  # noqa: S704


async def _load(datasette: Any, query: HomeQuery, at_ms: int) -> HomeData:
    limit_ms = query_threads(datasette).limit_ms
    until_s = monotonic() + limit_ms / 1000
    return await run_query(
        datasette,
        lambda connection: load_home(connection, query, at_ms, until_s),
        CHEAP_LIMIT_MS if query.is_cheap else limit_ms,
    )


@cache
def _sync_environment(env: Any) -> Any:
    """Templates without async, which take a third of the time for 1,000 sensors."""
    return env.overlay(enable_async=False)


def _context(datasette: Any, request: Any, query: HomeQuery, home: HomeData) -> dict[str, Any]:
    """What _home_board.html needs."""
    fahrenheit = request.args.get("unit") == "F"
    base = datasette.urls.path("/").rstrip("/")
    whole = not (home.has_more or query.terms or query.after)
    last = home.nodes[-1].node if home.nodes else ""
    return {
        "urls": datasette.urls,
        "query": query,
        "q": request.args.get("q") or "",
        "home": home,
        "silent": sum(row.silent for row in home.rows),
        "fahrenheit": fahrenheit,
        "whole": whole,
        "nodes": [
            (node, [_line(row, base, fahrenheit=fahrenheit) for row in node.rows])
            for node in home.nodes
        ],
        "max_sensors": MAX_SENSORS,
        "latest_url": _latest_url(datasette, home, whole=whole),
        "silent_nodes_url": f"{datasette.urls.database(DATABASE)}/silent_nodes",
        "incidents_url": f"{datasette.urls.table(DATABASE, 'incidents')}?to_ms__isnull=1",
        "other_values_url": _changed(datasette, request, values=None if query.raw else "raw"),
        "by_name_url": _changed(datasette, request, sort=None, after=None),
        "silent_url": _changed(datasette, request, sort="silent", after=None),
        "more_url": _changed(datasette, request, after=last, sort=None),
        "first": whole and not home.rows,
        "ingest_url": ingest_url(datasette, request),
    }


def _line(row: SensorRow, base: str, *, fahrenheit: bool) -> Line:
    converted = fahrenheit and row.unit == "°C"
    unit = "°F" if converted else row.unit

    def number(value: float) -> str:
        return cells.rounded(value * 9 / 5 + 32 if converted else value, unit)

    day = row.day
    return Line(
        row.id,
        row.name,
        base + node_path(row.node, row.name),
        row.silent,
        number(row.value),
        unit or "",
        row.value,
        row.unit or "",
        cells.short_duration(row.age_s),
        iso(row.measured_ms),
        day and (number(day.low), number(day.high), *day),
    )


def _latest_url(datasette: Any, home: HomeData, *, whole: bool) -> str:
    """The JSON with the newest readings of this page's sensors."""
    query = [
        *(("_col", column) for column in LATEST_COLUMNS),
        *(("_shape", "arrays"), ("_nocount", "1"), ("_ttl", "0"), ("_size", "max")),
    ]
    if not whole:
        query.append(("sensor__in", ",".join(str(row.id) for row in home.rows)))
    latest = "latest_clean" if home.corrected else "latest"
    return f"{datasette.urls.table(DATABASE, latest)}.json?{urlencode(query, safe=',')}"


def _changed(datasette: Any, request: Any, **parameters: str | None) -> str:
    """This page's address with some parameters changed."""
    present = {name: request.args.get(name) for name in request.args}
    query = {name: text for name, text in {**present, **parameters}.items() if text}
    return f"{datasette.urls.instance()}?{urlencode(query)}"
