"""The home page: every sensor's newest reading by node, or how to send the first one."""

import asyncio
from collections.abc import Sequence
from functools import cache, partial
from time import monotonic
from typing import Any
from urllib.parse import urlencode

from datasette import Response
from datasette.database import QueryInterrupted
from markupsafe import Markup

from tmon.core import demo
from tmon.core.languages import language
from tmon.core.time import now_ms
from tmon.pages.home_data import MAX_TERMS, HomeData, HomeQuery, load_home
from tmon.pages.home_lines import Shown
from tmon.pages.queries import DATABASE, query_threads, run_query
from tmon.pages.responses import check_parameters, ingest_url, render_page

CHEAP_LIMIT_MS = 5000  # for a query of one page, which is slow only on a busy machine
MAX_FAVOURITES = 100
LATEST_COLUMNS = ("sensor", "measured_ms", "value", "unit", "silent")  # that home.js reads


async def show(datasette: Any, request: Any) -> Response:
    """``/``. Requests for the same page at the same time share one rendering."""
    check_parameters(request)
    rendering = _rendering(datasette)
    key = (language.get(), request.scheme, request.host, request.full_path)
    if key not in rendering:
        rendering[key] = asyncio.ensure_future(_render(datasette, request))
        rendering[key].add_done_callback(lambda _: rendering.pop(key))
    context = await asyncio.shield(rendering[key])
    template = "kiosk.html" if "kiosk" in request.args else "home.html"
    return await render_page(datasette, request, template, context)


@cache
def _rendering(datasette: Any) -> dict[tuple[str, ...], asyncio.Future[dict[str, Any]]]:  # noqa: ARG001
    """The renderings that run now, for each Datasette."""
    return {}


async def _render(datasette: Any, request: Any) -> dict[str, Any]:
    """What the address asks for; if that takes too long, the first page with a note."""
    query = HomeQuery(
        terms=(request.args.get("q") or "").split()[:MAX_TERMS],
        after=request.args.get("after") or "",
        worst_first=request.args.get("sort") in {"worst", "silent"},
        raw=request.args.get("values") == "raw",
        favourites=request.args.getlist("s")[:MAX_FAVOURITES],
        closed=request.args.getlist("closed"),
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
    context = _context(datasette, request, query, home, at_ms)
    name = "_kiosk_board.html" if "kiosk" in request.args else "_home_board.html"
    template = _sync_environment(datasette.get_jinja_environment()).get_template(name)
    html = template.render(context, too_slow=too_slow)
    shown = {name: context[name] for name in ("first", "at_ms", "leave_url")}
    return {"board": Markup(html), **shown}  # noqa: S704


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


def _context(
    datasette: Any, request: Any, query: HomeQuery, home: HomeData, at_ms: int
) -> dict[str, Any]:
    """What _home_board.html needs."""
    shown = Shown(
        base=datasette.urls.path("/").rstrip("/"),
        fahrenheit=request.args.get("unit") == "F",
        at_ms=at_ms,
    )
    link = partial(_changed, datasette, request)
    is_complete = not (home.has_more or query.terms or query.after or query.closed)
    return {
        "urls": datasette.urls,
        "query": query,
        "q": request.args.get("q") or "",
        "home": home,
        "at_ms": at_ms,
        "fahrenheit": shown.fahrenheit,
        "is_complete": is_complete,
        "tiles": request.args.get("view") == "tiles",
        "picks": "pick" in request.args,
        "favourites": [shown.line(row) for row in home.favourites],
        "groups": [
            (
                group,
                link(closed=[name for name in query.closed if name != group.name]),
                [(node, [shown.line(row) for row in node.rows]) for node in group.nodes],
            )
            for group in home.groups
        ],
        "attention": [shown.thing(item) for item in home.attention.items],
        "past": [shown.thing(item) for item in home.attention.past],
        "hidden_picks": [name for name in query.favourites if name not in _names(home)],
        "compare_url": f"{datasette.urls.path('/compare')}?"
        + urlencode([("s", f"{row.node}/{row.name}") for row in home.favourites], safe="/"),
        "kept": [(name, text) for name, text in _parameters(request) if name not in {"s", "pick"}],
        "demo": demo,
        "latest_url": _latest_url(datasette, home, is_complete=is_complete),
        "silent_nodes_url": f"{datasette.urls.database(DATABASE)}/silent_nodes",
        "all_incidents_url": datasette.urls.table(DATABASE, "incidents"),
        "incidents_url": f"{datasette.urls.table(DATABASE, 'incidents')}?to_ms__isnull=1",
        "other_values_url": link(values=None if query.raw else "raw"),
        "by_name_url": link(sort=None, after=None),
        "worst_url": link(sort="worst", after=None),
        "list_url": link(view=None),
        "tiles_url": link(view="tiles"),
        "pick_url": link(pick="1"),
        "kiosk_url": link(kiosk="1", after=None),
        "leave_url": link(kiosk=None),
        "map_url": datasette.urls.path("/map") if home.has_map else None,
        "more_url": link(after=home.last, **({"kiosk": "1"} if "kiosk" in request.args else {})),
        "first": is_complete and not home.rows,
        "first_node": next((node.node for group in home.groups for node in group.nodes), None),
        "ingest_url": ingest_url(datasette, request),
    }


def _names(home: HomeData) -> set[str]:
    return {f"{row.node}/{row.name}" for row in home.rows}


def _latest_url(datasette: Any, home: HomeData, *, is_complete: bool) -> str:
    """The JSON with the newest readings of this page's sensors."""
    query = [
        *(("_col", column) for column in LATEST_COLUMNS),
        *(("_shape", "arrays"), ("_nocount", "1"), ("_ttl", "0"), ("_size", "max")),
    ]
    if not is_complete:
        sensors = dict.fromkeys(row.id for row in [*home.favourites, *home.rows])
        query.append(("sensor__in", ",".join(map(str, sensors))))
    latest = "latest_clean" if home.corrected else "latest"
    return f"{datasette.urls.table(DATABASE, latest)}.json?{urlencode(query, safe=',')}"


def _parameters(request: Any) -> list[tuple[str, str]]:
    """This page's parameters, some of which may be there several times."""
    return [(name, text) for name in request.args for text in request.args.getlist(name) if text]


def _changed(datasette: Any, request: Any, **parameters: str | Sequence[str] | None) -> str:
    """This page's address with some parameters changed."""
    query = [(name, text) for name, text in _parameters(request) if name not in parameters]
    for name, given in parameters.items():
        texts = [given] if isinstance(given, str) else given or []
        query += [(name, text) for text in texts if text]
    return f"{datasette.urls.instance()}?{urlencode(query, safe='/')}"
