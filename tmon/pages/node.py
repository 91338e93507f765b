"""The page of a node or a sensor: charts and numbers of a span of time, and as files."""

from functools import partial
from typing import Any
from urllib.parse import unquote, urlencode

from datasette import Response
from datasette.database import QueryInterrupted

from tmon.core.languages import gettext
from tmon.pages import chart_page, incidents
from tmon.pages.charts import NotFoundByName, Parameters, load_in_time
from tmon.pages.node_details import NodeDetails, load_details
from tmon.pages.node_view import NodeNames, NodeView, load_view
from tmon.pages.picture import svg_response
from tmon.pages.png import png_response
from tmon.pages.points_csv import csv_response
from tmon.pages.queries import DATABASE, run_query
from tmon.pages.renamed import find_renamed
from tmon.pages.responses import (
    absolute_url,
    check_parameters,
    node_path,
    render_page,
    render_problem,
)
from tmon.pages.spans import IN_WORDS, NAMES, BadSpan

MOST_PICTURED = 4  # sensors of a node in the picture of a link to it


async def show(datasette: Any, request: Any) -> Response:
    """``/node/NODE`` and ``/node/NODE/SENSOR``; with an extension, the charts alone."""
    check_parameters(request)
    parts = {name: unquote(text) for name, text in request.url_vars.items() if text}
    names = NodeNames(parts["node"], parts.get("sensor"))
    parameters = {name: request.args.get(name) for name in request.args}
    node_path = datasette.urls.path(f"/node/{names.node}")
    try:
        return await _respond(datasette, request, names, parameters, parts.get("format"))
    except NotFoundByName as error:
        return await _redirect_renamed(datasette, request, names, str(error))
    except BadSpan as error:
        links = {gettext(IN_WORDS[name]): f"{node_path}?range={name}" for name in NAMES}
        return await render_problem(datasette, request, 400, str(error), links)
    except QueryInterrupted:
        message = gettext("These are more readings than can be read in time.")
        links = {gettext(IN_WORDS["24h"]): f"{node_path}?range=24h"}
        return await render_problem(datasette, request, 400, message, links)


async def _respond(
    datasette: Any, request: Any, names: NodeNames, parameters: Parameters, extension: str | None
) -> Response:
    """The page, or the charts alone: as JSON, SVG or CSV, or to embed in another site."""
    if extension is None and "embed" not in request.args:
        view, details = await load_in_time(datasette, partial(load_details, names), parameters)
        context = _page_context(datasette, request, view, details)
        return await render_page(datasette, request, "node.html", context)
    view = await load_in_time(datasette, partial(load_view, names), parameters)
    charts = view.charts
    if extension == ".json":
        found = {"node": view.node["name"], **chart_page.charts_json(charts)}
        return Response.json(found, headers={"cache-control": "no-cache"})
    title = _heading(view)
    if extension == ".svg":
        return svg_response(charts, title)
    if extension == ".png":
        return await png_response(request, charts, title)
    if extension == ".csv":
        name = title.replace(" ", "-").replace("/", "-")
        fahrenheit = request.args.get("unit") == "F"
        return csv_response(charts, name, node=view.node["name"], fahrenheit=fahrenheit)
    context = chart_page.charts_context(datasette, request, charts)
    context["heading"] = _heading(view)
    return await render_page(datasette, request, "embed.html", context, may_be_framed=True)


async def _redirect_renamed(
    datasette: Any, request: Any, names: NodeNames, message: str
) -> Response:
    """Redirect to the present name. It isn't cached: the old name may be used again."""
    present = await run_query(datasette, lambda connection: find_renamed(connection, *names))
    if present is None:
        links = {gettext("All sensors"): datasette.urls.instance()}
        return await render_problem(datasette, request, 404, message, links)
    path = datasette.urls.path(node_path(*present) + (request.url_vars["format"] or ""))
    query_string = f"?{request.query_string}" if request.query_string else ""
    return Response.redirect(path + query_string, 301, {"cache-control": "no-cache"})


def _picture_url(datasette: Any, request: Any, view: NodeView) -> str | None:
    """The chart that other sites show beside a link to this page; of a node, its first sensors."""
    node, charts = view.node["name"], view.charts
    query = chart_page.query_string(request, charts.span)
    if view.sensor:
        path = f"{node_path(node, view.sensor.name)}.png"
    else:
        path = "/compare.png"
        names = [f"{node}/{sensor.name}" for sensor in charts.sensors[:MOST_PICTURED]]
        query = urlencode([("s", name) for name in names], safe="/") + f"&{query}"
    return f"{absolute_url(datasette, request, path)}?{query}" if charts.sensors else None


def _heading(view: NodeView) -> str:
    name: str = view.node["name"]
    return f"{name} {view.sensor.name}" if view.sensor else name


def _page_context(
    datasette: Any, request: Any, view: NodeView, details: NodeDetails
) -> dict[str, Any]:
    """What node.html needs."""
    charts, table = view.charts, datasette.urls.table
    sensor_ids = ",".join(str(sensor.id) for sensor in charts.sensors)
    incident_query = incidents.table_query(view.node["name"], view.sensor and view.sensor.id)
    query = chart_page.query_string(request, charts.span)
    return {
        **chart_page.charts_context(datasette, request, charts),
        **chart_page.bar_context(datasette, request, charts),
        **chart_page.numbers_context(
            datasette, request, charts, details.numbers, view.node["name"]
        ),
        "node": view.node,
        "sensor": view.sensor,
        "heading": _heading(view),
        "others": view.others,
        "details": details,
        "limits": [
            (one, charts.limits[one.id]) for one in charts.sensors if one.id in charts.limits
        ],
        "flags_url": f"{table(DATABASE, 'flags')}?{urlencode({'sensor__in': sensor_ids})}",
        "incidents_url": f"{table(DATABASE, 'incidents')}?{incident_query}",
        "picture_url": _picture_url(datasette, request, view),
        "svg_url": f"{datasette.urls.path(request.path)}.svg?{query}" if view.sensor else None,
        "similar": [
            (other.replace("/", " "), _compare_url(datasette, request, view, other))
            for other in details.similar
        ],
    }


def _compare_url(datasette: Any, request: Any, view: NodeView, other: str) -> str:
    """The sensor of a page and another over each other, in the same span."""
    own = f"{view.node['name']}/{view.sensor.name if view.sensor else ''}"
    kept = chart_page.kept_span(request, "s", "title")
    query = urlencode([("s", own), ("s", other), *kept], safe="/:")
    return f"{datasette.urls.path('/compare')}?{query}"
