"""What pages with charts have in common: their data as JSON, and the contexts of templates."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from tmon.core.languages import N_, gettext
from tmon.core.time import FIRST_MS, iso
from tmon.pages import corrections, svg
from tmon.pages.annotations import Annotations
from tmon.pages.charts import ChartView
from tmon.pages.numbers import Numbers
from tmon.pages.points import Line, Sensor, query_parameters
from tmon.pages.queries import DATABASE
from tmon.pages.responses import absolute_url, node_path
from tmon.pages.spans import IN_WORDS, NAMES, Span, shifted

# Links to shift and zoom the span, which work without a mouse or scripts: name, sign, by, scale.
MOVES = (
    (N_("Earlier"), "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}", -0.5, 1),
    (N_("Later"), "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}", 0.5, 1),
    (N_("Closer"), "+", 0, 0.5),
    (N_("Wider"), "\N{MINUS SIGN}", 0, 2),
)
# Links to the same span before: what each says, and its title while it is off and on.
BEFORES = {
    "day": (
        N_("day before"),
        N_("With the same a day before as a pale line"),
        N_("Without the same a day before"),
    ),
    "week": (
        N_("week before"),
        N_("With the same a week before as a pale line"),
        N_("Without the same a week before"),
    ),
    "year": (
        N_("year before"),
        N_("With the same a year before as a pale line"),
        N_("Without the same a year before"),
    ),
}
# Links to the rate of counters: what each says, and its title.
RATES = {
    "hour": (N_("per hour"), N_("How much counters count in an hour")),
    "day": (N_("per day"), N_("How much counters count in a day")),
}
LATEST_ROWS = {"_shape": "objects", "_size": "max", "_nocount": "1", "_ttl": "0"}
# The parameters beside the span, which links keep.
KEPT = ("s", "title", "unit", "utc", "resolution", "values", "before", "rate", "low", "high")


def kept_span(request: Any, *without: str) -> list[tuple[str, str]]:
    """The parameters of a page's address that a form for another address keeps."""
    names = [name for name in (*KEPT, "range", "from", "to") if name not in without]
    return [(name, value) for name in names for value in request.args.getlist(name)]


def query_string(request: Any, span: Span | None = None, **changed: str | None) -> str:
    """The parameters of a page's address with another span, and some changed.

    A parameter that becomes None is left out.
    """
    kept = [
        (name, value)
        for name in KEPT
        if name not in changed
        for value in request.args.getlist(name)
    ]
    new = [(name, value) for name, value in changed.items() if value is not None]
    return urlencode([*kept, *new, *(span.parameters.items() if span else ())], safe="/")


def charts_json(view: ChartView) -> dict[str, Any]:
    """The data for the browser: values in their own units, times in Unix milliseconds."""

    def chart_json(chart: Sequence[Line], annotations: Annotations) -> dict[str, Any]:
        return {
            "unit": chart[0].sensor.unit,
            "low": annotations.fixed.low,
            "high": annotations.fixed.high,
            "on_off": svg.shows_on_off(chart, annotations),
            "flags": [
                {name: getattr(flag, name) for name in ("sensor", "from_ms", "to_ms", "reason")}
                for _, flag in annotations.flags
            ],
            "marks": [
                {
                    name: getattr(mark, name)
                    for name in ("kind", "about", "from_ms", "to_ms", "text")
                }
                for mark in annotations.marks
                if mark.kind != "flag"
            ],
            "limits": [
                {"sensor": chart[limit.place].sensor.id, limit.side: limit.value}
                for limit in annotations.limits
            ],
            "lines": [
                {
                    "sensor": line.sensor.id,
                    "name": line.sensor.label,
                    "before": line.before or None,
                    "corrected": line.sensor.clean,
                    "gap_ms": line.gap_ms,
                    "stepped": line.stepped,
                    "points": line.points,
                    "held": line.held,
                }
                for line in chart
            ],
        }

    return {
        "from_ms": view.span.start_ms,
        "to_ms": view.span.end_ms,
        "range": view.span.name,
        "resolution": view.resolution.name,
        "step_ms": view.resolution.step_ms,
        "values": "raw" if view.corrections.raw else "clean",
        "charts": [*map(chart_json, view.charts, view.annotations)],
    }


def value_kinds(view: ChartView) -> str:
    """Whether the values are corrected, in words; empty if there are no corrections."""
    if view.corrections.raw:
        return gettext("raw values")
    kinds = {
        gettext("calibrated"): view.corrections.calibrations,
        gettext("flagged left out"): view.corrections.flags,
    }
    return ", ".join(kind for kind, some in kinds.items() if some)


def charts_context(datasette: Any, request: Any, view: ChartView) -> dict[str, Any]:
    """What _charts.html and _values.html need."""
    fahrenheit = request.args.get("unit") == "F"
    path = datasette.urls.path(request.path)
    other = {"values": None if view.corrections.raw else "raw"}
    if "embed" in request.args:
        other["embed"] = ""
    own_span = view.span if "range" in request.args or view.span.name is None else None
    sensors = {sensor.id: (sensor.label, sensor.unit) for sensor in view.sensors}
    latest = {"sensor__in": ",".join(str(sensor.id) for sensor in view.sensors), **LATEST_ROWS}
    return {
        "view": view,
        "fahrenheit": fahrenheit,
        "charts": [
            _chart_context(chart, annotations, view.span, fahrenheit=fahrenheit)
            for chart, annotations in zip(view.charts, view.annotations, strict=True)
        ],
        "marks": [
            (mark, f"{datasette.urls.table(DATABASE, mark.table)}/{mark.id}") for mark in view.marks
        ],
        "data_url": f"{path}.json?{query_string(request, view.span)}",
        "csv_url": f"{path}.csv?{query_string(request, view.span)}",
        "corrections": corrections.template_context(view.corrections, sensors),
        "latest_url": f"{datasette.urls.table(DATABASE, view.latest)}.json?{urlencode(latest)}",
        "other_values_url": f"{path}?{query_string(request, own_span, **other)}",
        "page_url": f"{absolute_url(datasette, request, request.path)}"
        f"?{query_string(request, view.span)}",
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
        "lines": lines,
        "names": [line.sensor.label for line in chart if not line.before],
        "drawing": svg.drawing(lines, svg.frame(lines, span, shown), shown),
        "marks": svg.marks(annotations.marks, span),
        "empty": not any(line.points for line in chart),
        "flagged": [chart[place].sensor.label for place in flagged],
        "limits": [(chart[limit.place].sensor, limit) for limit in annotations.limits],
    }


def bar_context(datasette: Any, request: Any, view: ChartView) -> dict[str, Any]:
    """What _bar.html needs: links to other spans and the same span before, and dates."""
    path = datasette.urls.path(request.path)
    earlier = view.before and view.before.name
    return {
        "kept": [(name, value) for name in KEPT for value in request.args.getlist(name)],
        "kept_for_values": kept_span(request, "low", "high"),
        "free_url": f"{path}?{query_string(request, view.span, low=None, high=None)}",
        "rates": [
            {
                "name": gettext(text),
                "title": gettext(N_("What counters count up to") if name == view.rate else title),
                "current": name == view.rate,
                "href": f"{path}?"
                + query_string(request, view.span, rate=None if name == view.rate else name),
            }
            for name, (text, title) in RATES.items()
            if view.has_counters
        ],
        "dates": [iso(at_ms)[:16] for at_ms in (view.span.start_ms, view.span.end_ms)],
        "ranges": [
            {
                "name": name,
                "in_words": gettext(IN_WORDS[name]),
                "href": f"{path}?{query_string(request, Span(0, 1, name))}",
                "current": view.span.name == name,
            }
            for name in NAMES
        ],
        "moves": [
            {"name": gettext(name), "sign": sign, "href": f"{path}?{query_string(request, to)}"}
            for name, sign, by, scale in MOVES
            for to in [shifted(view.span, by, scale=scale)]
        ],
        "befores": [
            {
                "name": gettext(text),
                "title": gettext(title_on if name == earlier else title_off),
                "current": name == earlier,
                "href": f"{path}?"
                + query_string(request, view.span, before=None if name == earlier else name),
            }
            for name, (text, title_off, title_on) in BEFORES.items()
        ],
    }


def numbers_context(
    datasette: Any, request: Any, view: ChartView, numbers: Numbers, node: str = ""
) -> dict[str, Any]:
    """What _numbers.html needs; ``node`` has all sensors, or else each knows its own."""
    span = view.span
    base = absolute_url(datasette, request, request.path)
    return {
        "numbers": numbers,
        "paths": {
            sensor.id: datasette.urls.path(node_path(sensor.node or node, sensor.name))
            for sensor in view.sensors
        },
        "year_paths": {
            sensor.id: datasette.urls.path(
                node_path(sensor.node or node, sensor.name).replace("/node/", "/year/", 1)
            )
            for sensor in view.sensors
        },
        "addresses": {sensor.id: f"{sensor.node or node}/{sensor.name}" for sensor in view.sensors},
        "span_with_readings": _span_with_readings(view, numbers),
        "kept_span": kept_span(request, "s", "title"),
        "embed_url": f"{base}?{query_string(request, span)}&embed",
        "selection": _selection_urls(datasette, view),
        "sql_urls": {sensor.id: _sql_url(datasette, sensor, view) for sensor in view.sensors},
    }


def _span_with_readings(view: ChartView, numbers: Numbers) -> Span | None:
    """If the span has no readings: one of the same length that ends with the newest reading."""
    last_ms = view.readings.last_ms
    if not numbers.is_empty or last_ms is None:
        return None
    return Span(max(FIRST_MS, last_ms + 1 - view.span.length_ms), last_ms + 1)


def _selection_urls(datasette: Any, view: ChartView) -> dict[str, str]:
    """The readings of this page as a table, as CSV and as JSON."""
    query = urlencode(
        {
            "sensor__in": ",".join(str(sensor.id) for sensor in view.sensors),
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


def _sql_url(datasette: Any, sensor: Sensor, view: ChartView) -> str:
    """The SQL of a line, to look at and change."""
    sql = view.resolution.sql_for(sensor)
    query = urlencode({"sql": sql, **query_parameters(sensor, view.span)})
    return f"{datasette.urls.database(DATABASE)}/-/query?{query}"
