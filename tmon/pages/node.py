"""A node's page and a sensor's: what it measured in a span of time, as a picture and in numbers."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlencode

from datasette import Response, hookimpl
from datasette.database import QueryInterrupted

from tmon.core.time import FIRST_MS
from tmon.pages import corrections, incidents, svg
from tmon.pages.details import Details, look_closely
from tmon.pages.marks import Marks
from tmon.pages.moved import Place, moved_to
from tmon.pages.points import Line, Sensor, parameters
from tmon.pages.spans import IN_WORDS, NAMES, NoSuchSpan, Span, moved
from tmon.pages.station import PUBLISHED_AS, address, ask, check_choices, page, problem
from tmon.pages.view import Asked, Unknown, View, ask_in_time, look

PICTURE = (720, 300)  # pixels

_NODE = r"/node/(?P<node>[^/.]+)"


@hookimpl
def register_routes() -> list[tuple[str, Any]]:
    """The page of a node, and of one of its sensors, also as data and as a picture."""
    return [
        (rf"{_NODE}(?P<form>\.json)?$", show),
        (rf"{_NODE}/(?P<sensor>.+?)(?P<form>\.json|\.svg)?$", show),
    ]


async def show(datasette: Any, request: Any) -> Response:
    """What is asked for, or what is wrong with it and where to go from there."""
    check_choices(request)
    told = {name: unquote(text) for name, text in request.url_vars.items() if text}
    asked = Asked(told["node"], told.get("sensor"), _arguments(request))
    here = datasette.urls.path(f"/node/{told['node']}")
    try:
        return await _answer(datasette, request, asked, told.get("form"))
    except Unknown as error:
        return await _elsewhere(datasette, request, told, error)
    except NoSuchSpan as error:
        links = {IN_WORDS[name]: f"{here}?range={name}" for name in NAMES}
        return await problem(datasette, request, 400, str(error), links)
    except QueryInterrupted:
        told_slow = "These are more readings than can be looked through in time."
        links = {IN_WORDS["24h"]: f"{here}?range=24h"}
        return await problem(datasette, request, 400, told_slow, links)


async def _answer(datasette: Any, request: Any, asked: Asked, form: str | None) -> Response:
    """The page, or the charts alone: as data, as a picture, in another page's frame."""
    if form is None and "embed" not in request.args:
        view, details = await ask_in_time(datasette, look_closely, asked)
        context = _context(datasette, request, view) | _beside(datasette, request, view, details)
        return await page(datasette, request, "node.html", context)
    view = await ask_in_time(datasette, look, asked)
    if form == ".json":
        return Response.json(_as_json(view), headers={"cache-control": "no-cache"})
    if form == ".svg":
        return _as_picture(view)
    context = _context(datasette, request, view)
    return await page(datasette, request, "embed.html", context, framed=True)


async def _elsewhere(
    datasette: Any, request: Any, told: Mapping[str, str], error: Unknown
) -> Response:
    """Where it was moved to, for good; asked for anew each time: another may take the old name."""
    asked = Place(told["node"], told.get("sensor"))
    there = await ask(datasette, lambda conn: moved_to(conn, asked))
    if there is None:
        links = {"All sensors": datasette.urls.instance()}
        return await problem(datasette, request, 404, str(error), links)
    path = datasette.urls.path(there.path + told.get("form", ""))
    query = f"?{request.query_string}" if request.query_string else ""
    return Response.redirect(path + query, 301, {"cache-control": "no-cache"})


def _arguments(request: Any) -> dict[str, str]:
    return {name: request.args.get(name) for name in request.args}


def _as_json(view: View) -> dict[str, Any]:
    """What the chart's script draws; values in their own unit, times in Unix milliseconds."""
    return {
        "node": view.node["name"],
        "from_ms": view.span.start_ms,
        "to_ms": view.span.end_ms,
        "range": view.span.name,
        "resolution": view.resolution.name,
        "step_ms": view.resolution.step_ms,
        "values": "raw" if view.corrections.raw else "clean",
        "charts": [
            {
                "unit": chart[0].sensor.unit,
                "flags": [
                    {
                        "sensor": flag.sensor,
                        "from_ms": flag.from_ms,
                        "to_ms": flag.to_ms,
                        "reason": flag.reason,
                    }
                    for _, flag in marks.flags
                ],
                "limits": [
                    {"sensor": chart[level.place].sensor.id, level.side: level.value}
                    for level in marks.levels
                ],
                "lines": [
                    {
                        "sensor": one.sensor.id,
                        "name": one.sensor.name,
                        "corrected": one.sensor.clean,
                        "gap_ms": one.gap_ms,
                        "points": one.points,
                    }
                    for one in chart
                ],
            }
            for chart, marks in zip(view.charts, view.marks, strict=True)
        ],
    }


def _as_picture(view: View) -> Response:
    [chart], [marks] = view.charts, view.marks
    title = f"{view.node['name']} {chart[0].sensor.name}"
    values = _values(view)
    picture = svg.picture(title, chart, view.span, marks, values=values, size=PICTURE)
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    headers = {"content-security-policy": policy, "cache-control": "max-age=60"}
    return Response(picture, content_type="image/svg+xml; charset=utf-8", headers=headers)


def _context(datasette: Any, request: Any, view: View) -> dict[str, Any]:
    """What the charts' template is given."""
    fahrenheit = request.args.get("unit") == "F"
    chosen = _choices(request)
    query = urlencode({**view.span.asked, **chosen})
    path = datasette.urls.path(request.path)
    return {
        "view": view,
        "fahrenheit": fahrenheit,
        "charts": [
            _chart(chart, marks, view.span, fahrenheit=fahrenheit)
            for chart, marks in zip(view.charts, view.marks, strict=True)
        ],
        "data_url": f"{path}.json?{query}",
        **_of_values(datasette, view),
        "other_values_url": _other_values(request, path, view),
    }


def _beside(datasette: Any, request: Any, view: View, details: Details) -> dict[str, Any]:
    """What the page's template is given beside them."""
    chosen = _choices(request)
    query = urlencode({**view.span.asked, **chosen})
    path = datasette.urls.path(request.path)
    return {
        "details": details,
        **_all_of_them(datasette, view),
        "ranges": [
            {
                "name": name,
                "in_words": IN_WORDS[name],
                "href": f"{path}?{urlencode({'range': name, **chosen})}",
                "current": view.span.name == name,
            }
            for name in NAMES
        ],
        "moves": [
            {"name": name, "sign": sign, "href": f"{path}?{urlencode({**to.asked, **chosen})}"}
            for name, sign, to in _moves(view.span)
        ],
        "where_some_are": _where_some_are(view, details),
        "embed_url": f"{address(datasette, request, request.path)}?{query}&embed",
        "picture_url": f"{path}.svg?{query}" if view.sensor else None,
        "selection": _selection(datasette, view),
        "sql_urls": {one.id: _sql_url(datasette, one, view) for one in view.sensors},
    }


def _chart(chart: Sequence[Line], marks: Marks, span: Span, *, fahrenheit: bool) -> dict[str, Any]:
    """A chart as it is drawn, in the unit that the visitor chose, and what its legend says."""
    shown = [_shown(one, fahrenheit=fahrenheit) for one in chart]
    converted = fahrenheit and chart[0].sensor.unit == "°C"
    on_it = marks.in_fahrenheit() if converted else marks
    return {
        "unit": shown[0].sensor.unit,
        "names": [one.sensor.name for one in chart],
        "drawing": svg.drawing(shown, svg.frame(shown, span, on_it.levels), on_it),
        "empty": not any(one.points for one in chart),
        "flagged": [chart[place].sensor.name for place in sorted({one for one, _ in marks.flags})],
        "levels": [(chart[level.place].sensor, level) for level in marks.levels],
    }


def _of_values(datasette: Any, view: View) -> dict[str, Any]:
    """What is told of the charts' values, and where newer ones come from."""
    names = {sensor.id: (sensor.name, sensor.unit) for sensor in view.sensors}
    return {
        "corrections": corrections.told(view.corrections, names),
        "latest_url": f"{datasette.urls.table(PUBLISHED_AS, view.latest)}.json",
    }


def _all_of_them(datasette: Any, view: View) -> dict[str, Any]:
    """Limits, and where all flags and incidents are."""
    table = datasette.urls.table
    of_sensors = urlencode({"sensor__in": ",".join(str(sensor.id) for sensor in view.sensors)})
    incident_query = incidents.query(view.node["name"], view.sensor and view.sensor.id)
    return {
        "limits": [
            (sensor, view.limits[sensor.id]) for sensor in view.sensors if sensor.id in view.limits
        ],
        "flags_url": f"{table(PUBLISHED_AS, 'flags')}?{of_sensors}",
        "incidents_url": f"{table(PUBLISHED_AS, 'incidents')}?{incident_query}",
    }


def _values(view: View) -> str:
    """Which values are shown, in a word or two, where there is more than one kind."""
    if view.corrections.raw:
        return "raw values"
    kinds = (
        ("calibrated", view.corrections.calibrations),
        ("flagged left out", view.corrections.flags),
    )
    return ", ".join(told for told, some in kinds if some)


def _other_values(request: Any, path: str, view: View) -> str:
    """The same page with raw values, or with clean ones again."""
    asked = {name: request.args.get(name) for name in request.args if name != "values"}
    query = urlencode(asked if view.corrections.raw else {**asked, "values": "raw"})
    return f"{path}?{query}"


def _where_some_are(view: View, details: Details) -> Span | None:
    """As long a span that ends with the newest reading, where this one has none."""
    if any(row.summary.n for row in details.rows) or view.past.last_ms is None:
        return None
    end_ms = view.past.last_ms + 1
    return Span(max(FIRST_MS, end_ms - view.span.length_ms), end_ms)


def _moves(span: Span) -> Iterator[tuple[str, str, Span]]:
    """Where one can go from a span, without a mouse and without scripts."""
    yield "Earlier", "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}", moved(span, -0.5)
    yield "Later", "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}", moved(span, 0.5)
    yield "Closer", "+", moved(span, 0, times=0.5)
    yield "Wider", "\N{MINUS SIGN}", moved(span, 0, times=2)


def _choices(request: Any) -> dict[str, str]:
    """What an address tells beside the span, as it goes on in links."""
    names = ("unit", "utc", "resolution", "values")
    return {name: request.args.get(name) for name in names if name in request.args}


def _shown(one: Line, *, fahrenheit: bool) -> Line:
    """A line in the unit that the visitor chose."""
    if not fahrenheit or one.sensor.unit != "°C":
        return one
    points = [
        (point[0], *(value * 9 / 5 + 32 for value in point[1:4]), *point[4:])
        for point in one.points
    ]
    return one._replace(sensor=one.sensor._replace(unit="°F"), points=points)


def _selection(datasette: Any, view: View) -> dict[str, str]:
    """Where this selection's readings are as a table, as CSV and as JSON."""
    query = urlencode(
        {
            "sensor__in": ",".join(str(sensor.id) for sensor in view.sensors),
            "measured_ms__gte": view.span.start_ms,
            "measured_ms__lt": view.span.end_ms,
        }
    )
    readings = datasette.urls.table(PUBLISHED_AS, "readings_clean" if view.clean else "readings")
    return {
        "table": f"{readings}?{query}",
        "csv": f"{readings}.csv?{query}&_labels=on&_dl=on",
        "json": f"{readings}.json?{query}&_shape=objects",
    }


def _sql_url(datasette: Any, sensor: Sensor, view: View) -> str:
    """The SQL that gave a line its points, to look at and change."""
    query = urlencode({"sql": view.resolution.of(sensor), **parameters(sensor, view.span)})
    return f"{datasette.urls.database(PUBLISHED_AS)}/-/query?{query}"
