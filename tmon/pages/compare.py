"""``/compare``: sensors of any nodes over each other. Its address is a dashboard to share."""

import sqlite3
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

from datasette import Response
from datasette.database import QueryInterrupted

from tmon.core.languages import gettext
from tmon.core.time import now_ms
from tmon.pages import chart_page
from tmon.pages.charts import (
    ChartView,
    Load,
    NotFoundByName,
    Parameters,
    find_sensor,
    load_charts,
    load_in_time,
)
from tmon.pages.numbers import Numbers, load_numbers
from tmon.pages.picture import svg_response
from tmon.pages.png import png_response
from tmon.pages.points import Sensor
from tmon.pages.points_csv import csv_response
from tmon.pages.queries import run_query
from tmon.pages.responses import absolute_url, check_parameters, render_page, render_problem
from tmon.pages.spans import IN_WORDS, BadSpan

MAX_COMPARED = 16  # two charts of one unit
MAX_TITLE = 200  # characters
MAX_OFFERED = 120  # sensors to tick; if there are more, they can be typed as well
MAX_SUGGESTED = 1000  # while typing


class Comparison(NamedTuple):
    """The charts of an address, and what is below them."""

    charts: ChartView
    numbers: Numbers | None  # None where the charts are alone


class Offer(NamedTuple):
    """Sensors that can be ticked, by node, and the addresses of all, to type."""

    nodes: Sequence[tuple[str, Sequence[str]]]
    typed: Sequence[str]


async def show(datasette: Any, request: Any) -> Response:
    """``/compare?s=NODE/SENSOR&s=…``; with an extension, the charts alone."""
    check_parameters(request)
    path = datasette.urls.path("/compare")
    try:
        return await _respond(datasette, request)
    except NotFoundByName as error:
        links = {gettext("Choose sensors"): path, gettext("All sensors"): datasette.urls.instance()}
        return await render_problem(datasette, request, 404, str(error), links)
    except BadSpan as error:
        query = chart_page.query_string(request, title=None)
        links = {gettext("Choose sensors"): f"{path}?{query}"}
        return await render_problem(datasette, request, 400, str(error), links)
    except QueryInterrupted:
        message = gettext(
            "These are more readings than can be read in time. Choose a shorter range."
        )
        query = chart_page.query_string(request, range="24h")
        links = {gettext(IN_WORDS["24h"]): f"{path}?{query}"}
        return await render_problem(datasette, request, 400, message, links)


async def _respond(datasette: Any, request: Any) -> Response:
    chosen = [*dict.fromkeys(one for one in request.args.getlist("s") if one)]
    if len(chosen) > MAX_COMPARED:
        message = gettext("s: at most {most} sensors at a time; these are {count}")
        raise BadSpan(message.format(most=MAX_COMPARED, count=len(chosen)))
    title = (request.args.get("title") or "").strip()
    if len(title) > MAX_TITLE:
        message = gettext("title must be no longer than {most} characters")
        raise BadSpan(message.format(most=MAX_TITLE))
    parameters = {name: request.args.get(name) for name in request.args}
    extension = request.url_vars["format"]
    if not chosen:
        if extension:
            raise BadSpan(gettext("s: name at least one sensor, such as s=attic/temperature"))
        return await _pick(datasette, request)
    alone = bool(extension) or not request.args.keys().isdisjoint({"embed", "kiosk"})
    load: Load[Comparison] = partial(_load_alone if alone else _load, chosen)
    charts, numbers = await load_in_time(datasette, load, parameters)
    heading = title or ", ".join(sensor.label for sensor in charts.sensors)
    if extension:
        return await _file(request, charts, extension, title)
    context = {**chart_page.charts_context(datasette, request, charts), "heading": heading}
    if numbers is None:
        return await _render_alone(datasette, request, charts, context)
    offer = await run_query(datasette, partial(load_offer, charts.sensors))
    context |= {
        **chart_page.bar_context(datasette, request, charts),
        **chart_page.numbers_context(datasette, request, charts, numbers),
        **_offer_context(request, offer, charts),
        "title": title,
        "picture_url": absolute_url(datasette, request, "/compare.png")
        + f"?{chart_page.query_string(request, charts.span)}",
        "kiosk_url": f"?{chart_page.query_string(request, charts.span)}&kiosk",
        "svg_url": f"{datasette.urls.path(request.path)}.svg?"
        + chart_page.query_string(request, charts.span),
    }
    return await render_page(datasette, request, "compare.html", context)


async def _render_alone(
    datasette: Any, request: Any, charts: ChartView, context: dict[str, Any]
) -> Response:
    """The charts for a screen on a wall, or to embed in another site."""
    if "kiosk" in request.args:
        query = chart_page.query_string(request, charts.span)
        leave_url = f"{datasette.urls.path('/compare')}?{query}"
        context = {**context, "leave_url": leave_url, "at_ms": now_ms()}
        return await render_page(datasette, request, "kiosk.html", context)
    return await render_page(datasette, request, "embed.html", context, may_be_framed=True)


async def _file(request: Any, charts: ChartView, extension: str, title: str) -> Response:
    """The charts alone: JSON, SVG, PNG or CSV."""
    if extension == ".svg":
        return svg_response(charts, title)
    if extension == ".png":
        return await png_response(request, charts, title)
    if extension == ".csv":
        return csv_response(charts, "compare", fahrenheit=request.args.get("unit") == "F")
    heading = title or ", ".join(sensor.label for sensor in charts.sensors)
    found = {"title": heading, **chart_page.charts_json(charts)}
    return Response.json(found, headers={"cache-control": "no-cache"})


async def _pick(datasette: Any, request: Any) -> Response:
    """The page without sensors: choose some."""
    offer = await run_query(datasette, partial(load_offer, ()))
    context = _offer_context(request, offer, None)
    return await render_page(datasette, request, "compare.html", context)


def _offer_context(request: Any, offer: Offer, charts: ChartView | None) -> dict[str, Any]:
    """What _choose_sensors.html needs."""
    return {
        "offer": offer,
        "chosen": {f"{one.node}/{one.name}" for one in charts.sensors} if charts else set(),
        "kept_span": chart_page.kept_span(request, "s", "title"),
        "most": MAX_COMPARED,
    }


def _load(
    chosen: Sequence[str], connection: sqlite3.Connection, parameters: Parameters, at_ms: int
) -> Comparison:
    charts, _ = _load_alone(chosen, connection, parameters, at_ms)
    return Comparison(charts, load_numbers(connection, charts, at_ms))


def _load_alone(
    chosen: Sequence[str], connection: sqlite3.Connection, parameters: Parameters, at_ms: int
) -> Comparison:
    sensors = {sensor.id: sensor for one in chosen for sensor in [find_sensor(connection, one)]}
    return Comparison(load_charts(connection, sensors.values(), parameters, at_ms), None)


def load_offer(chosen: Sequence[Sensor], connection: sqlite3.Connection) -> Offer:
    """The sensors that the page offers: those that are chosen, and the first others."""
    rows = connection.execute(
        "select node, name from sensors order by node, name limit ?", [MAX_SUGGESTED + 1]
    ).fetchall()
    listed = [(row["node"], row["name"]) for row in rows]
    ticked = sorted({*listed[:MAX_OFFERED], *((one.node, one.name) for one in chosen)})
    nodes = [
        (node, [f"{node}/{name}" for _, name in group])
        for node, group in groupby(ticked, key=lambda one: one[0])
    ]
    too_many = len(listed) > MAX_OFFERED
    return Offer(nodes, [f"{node}/{name}" for node, name in listed] if too_many else [])
