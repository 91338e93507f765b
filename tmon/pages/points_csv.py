"""The points of charts as CSV: what is drawn, not more."""

import csv
import io

from datasette import Response

from tmon.core.time import iso
from tmon.pages.charts import ChartView

COLUMNS = ("at", "node", "sensor", "unit", "value", "low", "high", "n", "before")
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would compute such a unit


def csv_response(
    view: ChartView, name: str, *, node: str = "", fahrenheit: bool = False
) -> Response:
    """All points as a file called ``name``; ``node`` has all sensors, or else each knows its own.

    ``at`` is a reading's time or the start of the time that ``value`` is the mean of. ``before``
    is such as "a week before" for points of the earlier span.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    moved_ms = view.span.start_ms - view.before.span.start_ms if view.before else 0
    for line in (line for chart in view.charts for line in chart):
        shown = line.in_fahrenheit() if fahrenheit and line.sensor.unit == "°C" else line
        sensor, shift_ms = shown.sensor, moved_ms if line.before else 0
        unit = f"'{sensor.unit}" if (sensor.unit or "").startswith(FORMULA) else sensor.unit
        for at_ms, *numbers in shown.points:
            filled = [*numbers, *[None] * (4 - len(numbers))]
            about = (sensor.node or node, sensor.name, unit)
            writer.writerow([iso(int(at_ms) - shift_ms), *about, *filled, line.before])
    headers = {
        "content-disposition": f'attachment; filename="{name}.csv"',
        "cache-control": "no-cache",
    }
    return Response(text.getvalue(), content_type="text/csv; charset=utf-8", headers=headers)
