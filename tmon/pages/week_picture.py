"""A sensor's week as a picture, for the weekly report."""

from typing import Any

from datasette.utils.sqlite import sqlite3

from tmon.pages.charts import load_charts
from tmon.pages.picture import picture
from tmon.pages.png import draw
from tmon.pages.points import Sensor

WIDTH = 720  # pixels


def draw_week(connection: Any, sensor: int, from_ms: int, to_ms: int) -> bytes:
    """The chart of a sensor in a span as PNG, of what ``connection`` reads."""
    usual, connection.row_factory = connection.row_factory, sqlite3.Row
    try:
        row = connection.execute(
            "select id, name, unit, node from sensors where id = ?", [sensor]
        ).fetchone()
        one = Sensor(row["id"], row["name"], row["unit"], node=row["node"])
        span = {"from": str(from_ms), "to": str(to_ms)}
        view = load_charts(connection, [one], span, to_ms)
    finally:
        connection.row_factory = usual
    return draw(picture(view, one.label), WIDTH)
