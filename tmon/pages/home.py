"""The home page: every sensor by node, as it is now, or what to do where there is none."""

import asyncio
import os
from functools import cache
from time import monotonic
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from datasette import Response, hookimpl
from datasette.database import QueryInterrupted
from markupsafe import Markup

from tmon.core.time import iso, now_ms
from tmon.pages import cells
from tmon.pages.board import MOST_SENSORS, MOST_WORDS, Asked, Board, Row, look
from tmon.pages.station import PUBLISHED_AS, address, ask, check_choices, page, readers

INGEST_PORT = "13117"  # where TMON_PORT says nothing else
# For a page's values: there are few enough of them, so only a busy machine takes so long.
VALUES_LIMIT_MS = 5000
COLUMNS = ("sensor", "measured_ms", "value", "unit", "silent")  # of what makes a page fresh


class Line(NamedTuple):
    """A sensor as its line says it: its values in the unit shown, and exact in its own."""

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


@hookimpl
def register_routes() -> list[tuple[str, Any]]:
    """In place of Datasette's index, which stays at ``/-/``."""
    return [(r"^/$", show)]


async def show(datasette: Any, request: Any) -> Response:
    """The page; all who ask for the same at the same time share one look."""
    check_choices(request)
    drawing = _drawings(datasette)
    key = (request.scheme, request.host, request.full_path)
    if key not in drawing:
        drawing[key] = asyncio.ensure_future(_drawn(datasette, request))
        drawing[key].add_done_callback(lambda _: drawing.pop(key))
    told = await asyncio.shield(drawing[key])
    return await page(datasette, request, "home.html", told)


@cache
def _drawings(datasette: Any) -> dict[tuple[str, ...], asyncio.Future[dict[str, Any]]]:  # noqa: ARG001
    """The boards of a station that are being drawn."""
    return {}


async def _drawn(datasette: Any, request: Any) -> dict[str, Any]:
    """What is asked for; where it takes too long, the first page, which says so."""
    asked = _asked(request)
    at_ms = now_ms()
    instead = False
    try:
        board = await _look(datasette, asked, at_ms)
    except QueryInterrupted:
        if asked.bounded:
            raise
        instead, asked = True, Asked(raw=asked.raw)
        board = await _look(datasette, asked, at_ms)
    context = _context(datasette, request, asked, board)
    template = _template(datasette, "_home_board.html")
    drawn = Markup(template.render(context, at_ms=at_ms, instead=instead))  # noqa: S704
    return {"board": drawn, "first": context["first"]}


async def _look(datasette: Any, asked: Asked, at_ms: int) -> Board:
    limit_ms = readers(datasette).limit_ms
    until_s = monotonic() + limit_ms / 1000
    return await ask(
        datasette,
        lambda conn: look(conn, asked, at_ms, until_s),
        VALUES_LIMIT_MS if asked.bounded else limit_ms,
    )


def _template(datasette: Any, name: str) -> Any:
    """A template that waits for nothing: 1,000 sensors are written in a third of the time."""
    return _plain(datasette.get_jinja_environment()).get_template(name)


@cache
def _plain(env: Any) -> Any:
    return env.overlay(enable_async=False)


def _asked(request: Any) -> Asked:
    words = (request.args.get("q") or "").split()[:MOST_WORDS]
    silent_first = request.args.get("sort") == "silent"
    after = "" if silent_first else request.args.get("after") or ""
    return Asked(words, after, silent_first, raw=request.args.get("values") == "raw")


def _context(datasette: Any, request: Any, asked: Asked, board: Board) -> dict[str, Any]:
    """What the template is given."""
    fahrenheit = request.args.get("unit") == "F"
    node_url = datasette.urls.path("/node/")
    whole = not (board.more or asked.words or asked.after)
    last = board.groups[-1].node if board.groups else ""
    return {
        "urls": datasette.urls,
        "asked": asked,
        "q": request.args.get("q") or "",
        "board": board,
        "silent": sum(row.silent for row in board.rows),
        "fahrenheit": fahrenheit,
        "whole": whole,
        "groups": [
            (group, [_line(row, node_url, fahrenheit=fahrenheit) for row in group.rows])
            for group in board.groups
        ],
        "most": MOST_SENSORS,
        "latest_url": _latest_url(datasette, board, whole=whole),
        "silent_nodes_url": f"{datasette.urls.database(PUBLISHED_AS)}/silent_nodes",
        "incidents_url": f"{datasette.urls.table(PUBLISHED_AS, 'incidents')}?to_ms__isnull=1",
        "other_values_url": _changed(datasette, request, values=None if asked.raw else "raw"),
        "by_name_url": _changed(datasette, request, sort=None, after=None),
        "silent_url": _changed(datasette, request, sort="silent", after=None),
        "more_url": _changed(datasette, request, after=last, sort=None),
        "first": whole and not board.rows,
        "ingest_url": _ingest_url(datasette, request),
    }


def _line(row: Row, node_url: str, *, fahrenheit: bool) -> Line:
    converted = fahrenheit and row.unit == "°C"
    unit = "°F" if converted else row.unit

    def figure(value: float) -> str:
        value = value * 9 / 5 + 32 if converted else value
        return cells.rounded(value, unit)

    day = row.day
    return Line(
        row.id,
        row.name,
        f"{node_url}{quote(row.node)}/{quote(row.name)}",
        row.silent,
        figure(row.value),
        unit or "",
        row.value,
        row.unit or "",
        cells.in_words(row.age_s),
        iso(row.measured_ms),
        day and (figure(day.low), figure(day.high), *day),
    )


def _latest_url(datasette: Any, board: Board, *, whole: bool) -> str:
    """Where the newest readings of this page's sensors are as data."""
    query = [
        *(("_col", column) for column in COLUMNS),
        *(("_shape", "arrays"), ("_nocount", "1"), ("_ttl", "0"), ("_size", "max")),
    ]
    if not whole:
        query.append(("sensor__in", ",".join(str(row.id) for row in board.rows)))
    latest = "latest_clean" if board.corrected else "latest"
    return f"{datasette.urls.table(PUBLISHED_AS, latest)}.json?{urlencode(query, safe=',')}"


def _changed(datasette: Any, request: Any, **parameters: str | None) -> str:
    """This page's address with some parameters changed."""
    told = {name: request.args.get(name) for name in request.args}
    query = {name: text for name, text in {**told, **parameters}.items() if text}
    return f"{datasette.urls.instance()}?{urlencode(query)}"


def _ingest_url(datasette: Any, request: Any) -> str:
    """Where nodes send to, as the station was told, or this host on ingest's own port."""
    if told := (datasette.plugin_config(PUBLISHED_AS) or {}).get("ingest_url"):
        return str(told)
    host = urlsplit(address(datasette, request)).hostname or "localhost"
    port = os.environ.get("TMON_PORT") or INGEST_PORT
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
