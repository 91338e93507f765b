"""The page of a node or a sensor: charts and numbers of a span of time, also as JSON and SVG."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote, urlencode

from datasette import Response
from datasette.database import QueryInterrupted

from tmon.core.time import FIRST_MS
from tmon.pages import corrections, incidents, svg
from tmon.pages.annotations import Annotations
from tmon.pages.node_details import NodeDetails, load_details
from tmon.pages.node_view import NodeQuery, NodeView, NotFoundByName, load_in_time, load_view
from tmon.pages.points import Line, Sensor, query_parameters
from tmon.pages.queries import DATABASE, run_query
from tmon.pages.renamed import find_renamed
from tmon.pages.responses import (
    absolute_url,
    check_parameters,
    node_path,
    render_page,
    render_problem,
)
from tmon.pages.spans import IN_WORDS, NAMES, BadSpan, Span, shifted

SVG_SIZE = (720, 300)  # pixels
# Links to shift and zoom the span, which work without a mouse or scripts: name, sign, by, scale.
MOVES = (
    ("Earlier", "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}", -0.5, 1),
    ("Later", "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}", 0.5, 1),
    ("Closer", "+", 0, 0.5),
    ("Wider", "\N{MINUS SIGN}", 0, 2),
)


async def show(datasette: Any, request: Any) -> Response:
    """``/node/NODE`` and ``/node/NODE/SENSOR``, with ``.json`` or ``.svg`` the charts alone."""
    check_parameters(request)
    names = {name: unquote(text) for name, text in request.url_vars.items() if text}
    parameters = {name: request.args.get(name) for name in request.args}
    query = NodeQuery(names["node"], names.get("sensor"), parameters)
    node_path = datasette.urls.path(f"/node/{names['node']}")
    try:
        return await _respond(datasette, request, query, names.get("format"))
    except NotFoundByName as error:
        return await _redirect_renamed(datasette, request, query, str(error))
    except BadSpan as error:
        links = {IN_WORDS[name]: f"{node_path}?range={name}" for name in NAMES}
        return await render_problem(datasette, request, 400, str(error), links)
    except QueryInterrupted:
        message = "These are more readings than can be read in time."
        links = {IN_WORDS["24h"]: f"{node_path}?range=24h"}
        return await render_problem(datasette, request, 400, message, links)


async def _respond(
    datasette: Any, request: Any, query: NodeQuery, extension: str | None
) -> Response:
    """The page, or the charts alone: as JSON, as SVG, or to embed in another site."""
    if extension is None and "embed" not in request.args:
        view, details = await load_in_time(datasette, load_details, query)
        context = _charts_context(datasette, request, view)
        context |= _details_context(datasette, request, view, details)
        return await render_page(datasette, request, "node.html", context)
    view = await load_in_time(datasette, load_view, query)
    if extension == ".json":
        return Response.json(_as_json(view), headers={"cache-control": "no-cache"})
    if extension == ".svg":
        return _as_svg(view)
    context = _charts_context(datasette, request, view)
    return await render_page(datasette, request, "embed.html", context, may_be_framed=True)


async def _redirect_renamed(
    datasette: Any, request: Any, query: NodeQuery, message: str
) -> Response:
    """Redirect to the present name. It isn't cached: the old name may be used again."""
    present = await run_query(
        datasette, lambda connection: find_renamed(connection, query.node, query.sensor)
    )
    if present is None:
        links = {"All sensors": datasette.urls.instance()}
        return await render_problem(datasette, request, 404, message, links)
    path = datasette.urls.path(node_path(*present) + (request.url_vars["format"] or ""))
    query_string = f"?{request.query_string}" if request.query_string else ""
    return Response.redirect(path + query_string, 301, {"cache-control": "no-cache"})


def _as_json(view: NodeView) -> dict[str, Any]:
    """The data for node.js: values in their own units, times in Unix milliseconds."""

    def chart_json(chart: Sequence[Line], annotations: Annotations) -> dict[str, Any]:
        return {
            "unit": chart[0].sensor.unit,
            "flags": [
                {name: getattr(flag, name) for name in ("sensor", "from_ms", "to_ms", "reason")}
                for _, flag in annotations.flags
            ],
            "limits": [
                {"sensor": chart[limit.place].sensor.id, limit.side: limit.value}
                for limit in annotations.limits
            ],
            "lines": [
                {
                    "sensor": line.sensor.id,
                    "name": line.sensor.name,
                    "corrected": line.sensor.clean,
                    "gap_ms": line.gap_ms,
                    "points": line.points,
                }
                for line in chart
            ],
        }

    return {
        "node": view.node["name"],
        "from_ms": view.span.start_ms,
        "to_ms": view.span.end_ms,
        "range": view.span.name,
        "resolution": view.resolution.name,
        "step_ms": view.resolution.step_ms,
        "values": "raw" if view.corrections.raw else "clean",
        "charts": [*map(chart_json, view.charts, view.annotations)],
    }


def _as_svg(view: NodeView) -> Response:
    [chart], [annotations] = view.charts, view.annotations
    title = f"{view.node['name']} {chart[0].sensor.name}"
    kinds = {
        "calibrated": view.corrections.calibrations,
        "flagged left out": view.corrections.flags,
    }
    values = ", ".join(kind for kind, some in kinds.items() if some)
    values = "raw values" if view.corrections.raw else values
    picture = svg.picture(title, chart, view.span, annotations, values=values, size=SVG_SIZE)
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    headers = {"content-security-policy": policy, "cache-control": "max-age=60"}
    return Response(picture, content_type="image/svg+xml; charset=utf-8", headers=headers)


def _charts_context(datasette: Any, request: Any, view: NodeView) -> dict[str, Any]:
    """What _charts.html and _values.html need."""
    fahrenheit = request.args.get("unit") == "F"
    path = datasette.urls.path(request.path)
    query = urlencode({**view.span.parameters, **_choices(request)})
    other = {name: request.args.get(name) for name in request.args if name != "values"}
    if not view.corrections.raw:
        other["values"] = "raw"
    sensors = {sensor.id: (sensor.name, sensor.unit) for sensor in view.sensors}
    return {
        "view": view,
        "fahrenheit": fahrenheit,
        "charts": [
            _chart_context(chart, annotations, view.span, fahrenheit=fahrenheit)
            for chart, annotations in zip(view.charts, view.annotations, strict=True)
        ],
        "data_url": f"{path}.json?{query}",
        "corrections": corrections.template_context(view.corrections, sensors),
        "latest_url": f"{datasette.urls.table(DATABASE, view.latest)}.json",
        "other_values_url": f"{path}?{urlencode(other)}",
    }


def _chart_context(
    chart: Sequence[Line], annotations: Annotations, span: Span, *, fahrenheit: bool
) -> dict[str, Any]:
    """A chart in the unit that the visitor chose, and its legend."""
    converted = fahrenheit and chart[0].sensor.unit == "°C"
    lines = [line.in_fahrenheit() for line in chart] if converted else chart
    shown = annotations.in_fahrenheit() if converted else annotations
    flagged = sorted({place for place, _ in annotations.flags})
    return {
        "unit": lines[0].sensor.unit,
        "names": [line.sensor.name for line in chart],
        "drawing": svg.drawing(lines, svg.frame(lines, span, shown.limits), shown),
        "empty": not any(line.points for line in chart),
        "flagged": [chart[place].sensor.name for place in flagged],
        "limits": [(chart[limit.place].sensor, limit) for limit in annotations.limits],
    }


def _details_context(
    datasette: Any, request: Any, view: NodeView, details: NodeDetails
) -> dict[str, Any]:
    """What node.html needs below the charts."""
    choices = _choices(request)
    query = urlencode({**view.span.parameters, **choices})
    path, table = datasette.urls.path(request.path), datasette.urls.table
    sensor_ids = ",".join(str(sensor.id) for sensor in view.sensors)
    incident_query = incidents.table_query(view.node["name"], view.sensor and view.sensor.id)
    return {
        "details": details,
        "limits": [(one, view.limits[one.id]) for one in view.sensors if one.id in view.limits],
        "flags_url": f"{table(DATABASE, 'flags')}?{urlencode({'sensor__in': sensor_ids})}",
        "incidents_url": f"{table(DATABASE, 'incidents')}?{incident_query}",
        "ranges": [
            {
                "name": name,
                "in_words": IN_WORDS[name],
                "href": f"{path}?{urlencode({'range': name, **choices})}",
                "current": view.span.name == name,
            }
            for name in NAMES
        ],
        "moves": [
            {
                "name": name,
                "sign": sign,
                "href": f"{path}?{urlencode({**to.parameters, **choices})}",
            }
            for name, sign, by, scale in MOVES
            for to in [shifted(view.span, by, scale=scale)]
        ],
        "span_with_readings": _span_with_readings(view, details),
        "embed_url": f"{absolute_url(datasette, request, request.path)}?{query}&embed",
        "svg_url": f"{path}.svg?{query}" if view.sensor else None,
        "selection": _selection_urls(datasette, view, sensor_ids),
        "sql_urls": {sensor.id: _sql_url(datasette, sensor, view) for sensor in view.sensors},
    }


def _span_with_readings(view: NodeView, details: NodeDetails) -> Span | None:
    """If the span has no readings: one of the same length that ends with the newest reading."""
    last_ms = view.readings.last_ms
    if any(row.summary.n for row in details.rows) or last_ms is None:
        return None
    return Span(max(FIRST_MS, last_ms + 1 - view.span.length_ms), last_ms + 1)


def _choices(request: Any) -> dict[str, str]:
    """The parameters beside the span, which links keep."""
    names = ("unit", "utc", "resolution", "values")
    return {name: request.args.get(name) for name in names if name in request.args}


def _selection_urls(datasette: Any, view: NodeView, sensor_ids: str) -> dict[str, str]:
    """The readings of this page as a table, as CSV and as JSON."""
    query = urlencode(
        {
            "sensor__in": sensor_ids,
            "measured_ms__gte": view.span.start_ms,
            "measured_ms__lt": view.span.end_ms,
        }
    )
    readings = datasette.urls.table(DATABASE, "readings_clean" if view.clean else "readings")
    return {
        "table": f"{readings}?{query}",
        "csv": f"{readings}.csv?{query}&_labels=on&_dl=on",
        "json": f"{readings}.json?{query}&_shape=objects",
    }


def _sql_url(datasette: Any, sensor: Sensor, view: NodeView) -> str:
    """The SQL of a line, to look at and change."""
    sql = view.resolution.sql_for(sensor)
    query = urlencode({"sql": sql, **query_parameters(sensor, view.span)})
    return f"{datasette.urls.database(DATABASE)}/-/query?{query}"
