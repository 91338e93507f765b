"""``/year/NODE/SENSOR``: a year in one picture, its typical day and its records."""

from functools import partial
from typing import Any
from urllib.parse import unquote, urlencode

from datasette import Response
from datasette.database import QueryInterrupted
from markupsafe import Markup

from tmon.core.languages import gettext
from tmon.core.time import DAY_MS, HOUR_MS, as_datetime, now_ms
from tmon.pages import heat, svg
from tmon.pages.cells import rounded
from tmon.pages.charts import NotFoundByName
from tmon.pages.months import day_and_month
from tmon.pages.points import Sensor
from tmon.pages.queries import run_query
from tmon.pages.responses import check_parameters, node_path, render_page, render_problem
from tmon.pages.spans import BadSpan, Span
from tmon.pages.year_data import Hour, Record, Year, load_year, records, thresholds, typical_day

DAY = Span(0, DAY_MS)
CLOCK = [(hour * HOUR_MS, f"{hour:02}:00") for hour in (6, 12, 18)]
KEPT = ("unit", "utc", "values")
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

_FILE = Markup(
    """<svg xmlns="http://www.w3.org/2000/svg" width="960" height="520" viewBox="0 0 960 520" \
role="img" aria-label="{title}">
<style>
  svg {{ font: 12px system-ui, sans-serif; color-scheme: light dark; overflow: visible }}
  .paper {{ fill: #fff }} text {{ fill: #1c2228 }} .tick {{ fill: #59636e }}
  .missing {{ fill: #e3e7ea }} .heat .day {{ fill-opacity: 0 }}
  @media (prefers-color-scheme: dark) {{
    .paper {{ fill: #14181c }} text {{ fill: #e4e8ec }} .tick {{ fill: #9aa5b0 }}
    .missing {{ fill: #2b3239 }}
  }}
</style>
<rect class="paper" width="100%" height="100%"/>
<text x="16" y="22"><tspan font-weight="600">{title}</tspan> <tspan class="tick">{about}</tspan>\
</text>
<svg class="heat" x="56" y="40" width="888" height="216">{heat_map}</svg>
<svg x="56" y="300" width="888" height="126">{calendar}</svg>
<svg x="56" y="470" width="444" height="14">{legend}</svg>
</svg>
"""
)


async def show(datasette: Any, request: Any) -> Response:
    """The page, or with ``.svg`` the picture alone."""
    check_parameters(request)
    parts = {name: unquote(text) for name, text in request.url_vars.items() if text}
    address = f"{parts['node']}/{parts['sensor']}"
    parameters = {name: request.args.get(name) for name in request.args}
    try:
        year = await run_query(
            datasette, lambda connection: load_year(address, connection, parameters, now_ms())
        )
        if (year.sensor.node, year.sensor.name) != (parts["node"], parts["sensor"]):
            return _redirect_renamed(datasette, request, year.sensor)
        if request.args.get("unit") == "F" and year.sensor.unit == "°C":
            year = year.in_fahrenheit()
        if "format" in parts:
            return _file(datasette, request, year)
        context = _context(datasette, request, year, parameters)
        return await render_page(datasette, request, "year.html", context)
    except NotFoundByName as error:
        links = {gettext("All sensors"): datasette.urls.instance()}
        return await render_problem(datasette, request, 404, str(error), links)
    except BadSpan as error:
        path = datasette.urls.path(request.path.removesuffix(".svg"))
        links = {gettext("The newest year"): path}
        return await render_problem(datasette, request, 400, str(error), links)
    except QueryInterrupted:
        message = gettext("This year has more readings than can be read in time. Try again later.")
        links = {gettext("All sensors"): datasette.urls.instance()}
        return await render_problem(datasette, request, 400, message, links)


def _redirect_renamed(datasette: Any, request: Any, sensor: Sensor) -> Response:
    """Redirect to the present name. It isn't cached: the old name may be used again."""
    path = node_path(sensor.node, sensor.name).replace("/node/", "/year/", 1)
    query_string = f"?{request.query_string}" if request.query_string else ""
    url = datasette.urls.path(path + (request.url_vars["format"] or "")) + query_string
    return Response.redirect(url, 301, {"cache-control": "no-cache"})


def _file(datasette: Any, request: Any, year: Year) -> Response:
    headers = {"content-security-policy": POLICY, "cache-control": "max-age=60"}
    title = f"{year.sensor.label} {year.number:04}"
    drawings = _drawings(datasette, request, year)
    about = gettext("hourly and daily means, UTC") if year.hours else gettext("no readings")
    picture = _FILE.format(title=title, about=about, **drawings)
    return Response(picture, content_type="image/svg+xml; charset=utf-8", headers=headers)


def _drawings(datasette: Any, request: Any, year: Year) -> dict[str, Markup]:
    """The heat map, the calendar and the legend; empty for a year without readings."""
    if not year.hours:
        return dict.fromkeys(("heat_map", "calendar", "legend"), Markup(""))
    scale = heat.scale_of(year)
    kept = urlencode({name: request.args.get(name) for name in KEPT if name in request.args})
    path = datasette.urls.path(node_path(year.sensor.node, year.sensor.name))

    def link(start_ms: int) -> str:
        first, after = (as_datetime(ms).date() for ms in (start_ms, start_ms + DAY_MS))
        return f"{path}?from={first}&to={after}&{kept}".removesuffix("&")

    days = heat.days_of(year, link, partial(_day_label, year))
    return {
        "heat_map": heat.heat_map(year, scale, days),
        "calendar": heat.calendar(year, scale, days),
        "legend": heat.legend(year, scale, partial(_quantity, year)),
    }


def _context(
    datasette: Any, request: Any, year: Year, parameters: dict[str, str]
) -> dict[str, Any]:
    """What year.html needs."""
    below, above = thresholds(year, parameters) if year.hours else (0.0, 0.0)
    path = datasette.urls.path(request.path)
    kept = {name: parameters[name] for name in KEPT if name in parameters}
    typical = typical_day(year)
    first, last = (
        None if ms is None else as_datetime(ms).year for ms in year.readings
    )  # of all readings
    return {
        "year": year,
        "number": f"{year.number:04}",
        **_drawings(datasette, request, year),
        "newest": _place_of_newest(year),
        "typical": typical,
        "typical_day": svg.drawing([typical], svg.frame([typical], DAY), times=CLOCK),
        "records": [
            {
                "name": _record_name(year, record),
                "value": None if record.value is None else _quantity(year, record.value),
                "span": record.span,
                "href": _chart_link(datasette, request, year, record.span),
            }
            for record in (records(year, below, above) if year.hours else ())
        ],
        "parameters": parameters,
        "kept": {**kept, "year": f"{year.number:04}"},
        "years": {
            name: f"{path}?{urlencode({**kept, 'year': f'{number:04}'})}"
            for number, name in _near_years(year.number, first, last)
        },
        "sensor_url": datasette.urls.path(node_path(year.sensor.node, year.sensor.name)),
        "node_url": datasette.urls.path(node_path(year.sensor.node)),
        "svg_url": f"{path}.svg?{urlencode({**kept, 'year': f'{year.number:04}'})}",
    }


def _record_name(year: Year, record: Record) -> str:
    if record.threshold is None:
        return gettext(record.name)
    return f"{gettext(record.name)} {_quantity(year, record.threshold)}"


def _place_of_newest(year: Year) -> float:
    """Where in the year its newest hour is, from 0 to 1."""
    last_ms = year.hours[-1].start_ms if year.hours else year.span.start_ms
    return round((last_ms - year.span.start_ms) / year.span.length_ms, 3)


def _near_years(number: int, first: int | None, last: int | None) -> list[tuple[int, str]]:
    """The years to go to: those around this one that may have readings."""
    if first is None or last is None:
        return []
    near = {min(max(one, first), last) for one in (number - 1, number + 1)} - {number}
    return [(one, f"{one:04}") for one in sorted(near)]


def _chart_link(datasette: Any, request: Any, year: Year, span: Span) -> str:
    kept = {name: request.args.get(name) for name in KEPT if name in request.args}
    path: str = datasette.urls.path(node_path(year.sensor.node, year.sensor.name))
    return f"{path}?{urlencode({**span.parameters, **kept}, safe=':')}"


def _day_label(year: Year, day: Hour) -> str:
    if year.sensor.is_switch:
        text = gettext("{date}: on in {share} of the readings")
        return text.format(date=_date(day.start_ms), share=_quantity(year, day.mean))
    unit = year.sensor.unit
    low, high = (rounded(value, unit) for value in (day.low, day.high))
    return gettext("{date}: {mean}, {low} to {high}").format(
        date=_date(day.start_ms), mean=_quantity(year, day.mean), low=low, high=high
    )


def _date(ms: int) -> str:
    at = as_datetime(ms)
    return f"{day_and_month(at)} {at.year:04}"


def _quantity(year: Year, value: float) -> str:
    if year.sensor.is_switch:
        return f"{value:.0%}".replace("%", "\N{NO-BREAK SPACE}%")
    unit = year.sensor.unit
    return f"{rounded(value, unit)}\N{NO-BREAK SPACE}{unit or ''}".strip().replace(
        "-", "\N{MINUS SIGN}", 1
    )
