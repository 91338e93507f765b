"""`/map`: where the nodes are, drawn from their positions alone; no other server is asked.

Positions are in Web Mercator, as map tiles are, so that an owner's tiles (``TMON_MAP_TILES``) lie
below them.
"""

import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from datasette import Response
from datasette.database import QueryInterrupted

from tmon.pages.queries import DATABASE, run_query
from tmon.pages.responses import node_path, render_page

SIDE = 720  # of the square picture, in CSS pixels on a wide screen
MARGIN = 0.15  # of the positions' extent, on each side
SMALLEST_EXTENT = 500 / 40_075_017  # of the world's width: a single node is shown in 500 m
MOST_VALUES = 500  # nodes; with more, the map shows where they are and no values
LABEL_PX = {"wide": (7.5, 18), "narrow": (14.0, 32)}  # width of a letter, height: 14 px, 26 px type
TILE_PX = 256
DEEPEST_ZOOM = 19

NODES = """
select name, latitude, longitude from nodes
where latitude is not null and longitude is not null and revoked_ms is null
order by name
"""
QUANTITIES = """
select quantity, count(*) as n from sensors
where quantity is not null and node in (select name from nodes where latitude is not null)
group by quantity order by quantity <> 'temperature', n desc, quantity
"""
VALUES = """
select node, name, value, unit, silent, value > above or value < below as beyond
from latest_clean left join limits using (sensor)
where node in (select name from nodes where latitude is not null) and quantity = ?
order by node, name desc
"""


class Node(NamedTuple):
    """A node with a position, in degrees."""

    name: str
    latitude: float
    longitude: float


class Value(NamedTuple):
    """The newest reading of a node's sensor."""

    node: str
    name: str
    value: float
    unit: str | None
    silent: int
    beyond: int | None  # its limit; None without one on that side


class Frame(NamedTuple):
    """The square of the world that is shown, in fractions of its width."""

    west: float
    north: float
    extent: float

    def place(self, latitude: float, longitude: float) -> tuple[float, float]:
        """Pixels from the left and from the top."""
        x, y = mercator(latitude, longitude)
        return (x - self.west) / self.extent * SIDE, (y - self.north) / self.extent * SIDE


class Point(NamedTuple):
    """A node on the map; ``labels`` are the screens on which its name has room, by the side."""

    node: Node
    href: str
    x: float
    y: float
    value: Value | None
    labels: Mapping[str, list[str]]


class Scale(NamedTuple):
    """The bar that shows a distance."""

    width: float
    text: str


class Tile(NamedTuple):
    """One picture of the owner's tile server."""

    url: str
    x: float
    y: float
    side: float


def mercator(latitude: float, longitude: float) -> tuple[float, float]:
    """Web Mercator in fractions of the world's width, from 180° west and 85.05° north."""
    latitude = max(-85.05, min(85.05, latitude))
    y = (1 - math.asinh(math.tan(math.radians(latitude))) / math.pi) / 2
    return (longitude + 180) / 360, y


def frame(positions: Sequence[tuple[float, float]]) -> Frame:
    """The smallest square with all positions (latitude, longitude) and a margin."""
    xs, ys = zip(*(mercator(*position) for position in positions), strict=True)
    spread = max(max(xs) - min(xs), max(ys) - min(ys))
    extent = max(spread * (1 + 2 * MARGIN), SMALLEST_EXTENT)
    middle_x, middle_y = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
    return Frame(middle_x - extent / 2, middle_y - extent / 2, extent)


def scale(shown: Frame) -> Scale:
    """A round distance of about a quarter of the picture, true in its middle."""
    middle_y = shown.north + shown.extent / 2
    latitude = math.atan(math.sinh(math.pi * (1 - 2 * middle_y)))
    metres = shown.extent * 40_075_017 * math.cos(latitude)  # of the picture's width
    power = 10 ** math.floor(math.log10(metres / 4))
    length = max(factor * power for factor in (1, 2, 5) if factor * power <= metres / 4)
    text = f"{length / 1000:,.0f} km" if length >= 1000 else f"{length:.0f} m"
    return Scale(length / metres * SIDE, text)


def tiles(shown: Frame, template: str) -> Iterator[Tile]:
    """The owner's tiles below the picture, at the zoom whose tiles are about their own size."""
    zoom = min(DEEPEST_ZOOM, max(0, math.floor(math.log2(SIDE / TILE_PX / shown.extent))))
    count = 2**zoom
    side = SIDE / shown.extent / count
    first_x, last_x = (math.floor(x * count) for x in (shown.west, shown.west + shown.extent))
    first_y, last_y = (math.floor(y * count) for y in (shown.north, shown.north + shown.extent))
    for x in range(first_x, last_x + 1):
        for y in range(max(first_y, 0), min(last_y, count - 1) + 1):
            url = template.format(z=zoom, x=x % count, y=y)
            left, top = (x / count - shown.west), (y / count - shown.north)
            yield Tile(url, left / shown.extent * SIDE, top / shown.extent * SIDE, side)


async def show(datasette: Any, request: Any) -> Response:
    """``/map``, with the newest values of one quantity (``?quantity=``)."""
    asked = request.args.get("quantity")

    def load_nodes(connection: sqlite3.Connection) -> list[Node]:
        return [Node(*row) for row in connection.execute(NODES)]

    def load_values(connection: sqlite3.Connection) -> tuple[list[str], dict[str, Value]]:
        quantities = [quantity for quantity, _ in connection.execute(QUANTITIES)]
        rows = connection.execute(VALUES, [asked or next(iter(quantities), None)])
        return quantities, {value.node: value for value in map(Value._make, rows)}

    nodes = await run_query(datasette, load_nodes)
    quantities: list[str] = []
    values: dict[str, Value] = {}
    if 0 < len(nodes) <= MOST_VALUES:
        with suppress(QueryInterrupted):  # then the map shows where the nodes are
            quantities, values = await run_query(datasette, load_values)
    context: dict[str, Any] = {"nodes": nodes, "quantities": quantities}
    context |= {"side": SIDE, "most_values": MOST_VALUES}
    settings = datasette.plugin_config(DATABASE) or {}
    template = settings.get("map_tiles")
    if nodes:
        shown = frame([(node.latitude, node.longitude) for node in nodes])
        context |= {
            "points": _points(datasette, shown, nodes, values),
            "scale": scale(shown),
            "tiles": list(tiles(shown, template)) if template else [],
            "credit": settings.get("map_credit"),
            "quantity": asked or next(iter(quantities), None),
        }
    origin = "/".join(template.split("/")[:3]) if template else ""
    return await render_page(datasette, request, "map.html", context, image_origin=origin)


def _points(
    datasette: Any, shown: Frame, nodes: Sequence[Node], values: Mapping[str, Value]
) -> list[Point]:
    taken: dict[str, list[tuple[float, float, float, float]]] = {name: [] for name in LABEL_PX}
    points = []
    for node in nodes:
        x, y = shown.place(node.latitude, node.longitude)
        value = values.get(node.name)
        letters = len(node.name) + (len(" 21.5 °C") if value else 0)
        labels: dict[str, list[str]] = {}
        for screen, (width, height) in LABEL_PX.items():
            length = 14 + letters * width
            above, below = y - height / 2, y + height / 2
            if _claim(taken[screen], (x, above, x + length, below)):
                labels.setdefault("right", []).append(screen)
            elif _claim(taken[screen], (x - length, above, x, below)):
                labels.setdefault("left", []).append(screen)
        href = datasette.urls.path(node_path(node.name))
        points.append(Point(node, href, x, y, value, labels))
    return points


def _claim(
    taken: list[tuple[float, float, float, float]], box: tuple[float, float, float, float]
) -> bool:
    """Reserve a label's box, unless it leaves the picture or covers another."""
    left, top, right, bottom = box
    if left < 0 or right > SIDE or len(taken) > MOST_VALUES:
        return False
    if any(left < r and l < right and top < b and t < bottom for l, t, r, b in taken):  # noqa: E741
        return False
    taken.append(box)
    return True
