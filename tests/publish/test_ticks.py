"""The chart of a page without scripts and the one that replaces it have the same ticks."""

import re
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.publish.browsing import PHONE, visit
from tests.publish.published import HOUR_MS, MARCH_MS, Site
from tmon.core.time import DAY_MS, FIRST_MS, LAST_MS
from tmon.pages import svg
from tmon.pages.points import Line, Sensor
from tmon.pages.spans import Span

MINUTE_MS, YEAR_MS = 60_000, 365 * DAY_MS

VALUES = [
    *((20, 24), (20, 20.4), (19.9, 24.1), (-5, 5), (0.001, 0.006), (-0.3, 0.3), (1013.2, 1013.21)),
    *((21.5, 21.5), (0, 0), (-40, -40), (1e17, 1e17), (-1e30, 1e30)),
    *((0, 25e6), (999_990, 1_000_010), (0, 5e-8), (1, 1.000002), (-7.5, 99_999.5)),
]
SPANS = [
    *(Span(MARCH_MS + 12_345, MARCH_MS + 12_345 + length) for length in (1, MINUTE_MS, HOUR_MS)),
    *(Span(MARCH_MS, MARCH_MS + hours * HOUR_MS) for hours in (2, 6, 24, 31)),
    *(Span(MARCH_MS - 777, MARCH_MS + days * DAY_MS) for days in (3, 7, 14, 30, 70, 105, 200)),
    *(Span(MARCH_MS - years * YEAR_MS, MARCH_MS) for years in (1, 3, 10, 40, 90, 500)),
    Span(FIRST_MS, LAST_MS + 1),
]
# Draws a chart for each range; gives the labels and places of its ticks, values first, and the
# least distance between two labels of times.
DRAW = """async (ranges) => {
  const script = document.querySelector('script[src*="node.js"]').src;
  const { draw } = await import(new URL("./chart.js", script).href);
  const figure = document.querySelector(".chart");
  const text = document.createElement("canvas").getContext("2d");
  text.font = "12px system-ui, sans-serif";
  const found = [];
  for (const [low, high, from_ms, to_ms] of ranges) {
    const points = [[from_ms, low], [to_ms, high]];
    const chart = { unit: "", lines: [{ sensor: 1, name: "s", gap_ms: Infinity, points }] };
    const chosen = { fahrenheit: false, utc: true };
    const drawn = draw(figure, { from_ms, to_ms, step_ms: 0 }, chart, chosen, {});
    await new Promise((done) => setTimeout(done));
    const { clientWidth, clientHeight } = drawn.over;
    const ticks = (axis, scale, length) => drawn.axes[axis]._splits.map((place, number) =>
      [drawn.axes[axis]._values[number], drawn.valToPos(place, scale) / length * 100]);
    const [values, times] = [ticks(1, "y", clientHeight), ticks(0, "x", clientWidth)];
    const ends = times.map(([label, at]) =>
      [-1, 1].map((side) => at / 100 * clientWidth + side * text.measureText(label).width / 2));
    const apart = ends.slice(1).map(([start], number) => start - ends[number][1]);
    found.push([[values, times], Math.min(1000, ...apart)]);
    drawn.destroy();
  }
  return found;
}"""
TICKS = """async ([from, to]) => {
  const script = document.querySelector('script[src*="node.js"]').src;
  const { timeTicks } = await import(new URL("./ticks.js", script).href);
  return timeTicks(Date.parse(from), Date.parse(to), false);
}"""


def in_svg(low: float, high: float, span: Span) -> list[list[tuple[str, float]]]:
    """The labels and places of the SVG's ticks: of values, and of times."""
    lines = [Line(Sensor(1, "s", None), [(0, low), (0, high)], 1, 0)]
    drawing = svg.drawing(lines, svg.frame(lines, span))
    patterns = (r'<text class="tick" x="-6" y="(\S+)%"', r'<text class="tick time" x="(\S+)%"')
    return [
        [(label, float(at)) for at, label in re.findall(rf"{pattern}[^>]*>(.*?)<", drawing)]
        for pattern in patterns
    ]


def open_chart(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/node/attic?range=all")
    page.wait_for_selector(".chart canvas")


def test_a_chart_keeps_its_ticks_when_the_browser_draws_it_again(
    browser: Browser, site: Site
) -> None:
    ranges = [(low, high, SPANS[7]) for low, high in VALUES]
    ranges += [(20, 24, span) for span in SPANS]
    with visit(browser, PHONE) as page:
        open_chart(page, site)
        given = [(low, high, span.start_ms, span.end_ms) for low, high, span in ranges]
        drawn = page.evaluate(DRAW, given)
    for (low, high, span), (axes, apart) in zip(ranges, drawn, strict=True):
        assert apart >= 3, span
        for expected, found in zip(in_svg(low, high, span), axes, strict=True):
            assert [label for label, _ in found] == [label for label, _ in expected], (low, span)
            places = [place for _, place in found]
            assert places == pytest.approx([place for _, place in expected], abs=0.1), (low, span)


@pytest.mark.parametrize("span", SPANS)
def test_a_time_axis_has_few_ticks(span: Span) -> None:
    _, times = in_svg(20, 24, span)
    assert len(times) <= svg.MAX_TIME_TICKS + 1


@pytest.mark.parametrize(("low", "high"), VALUES)
def test_a_value_axis_has_enough_ticks_and_not_too_many(low: float, high: float) -> None:
    values, _ = in_svg(low, high, SPANS[0])
    assert 2 <= len(values) <= svg.MAX_VALUE_TICKS + 1


@pytest.mark.parametrize(
    ("from_", "to", "labels"),
    [
        # 02:00 to 03:00 is skipped.
        ("2026-03-28T23:00Z", "2026-03-29T05:00Z", "29 Mar,01:00,03:00,04:00,05:00,06:00"),
        ("2026-03-28T11:00Z", "2026-03-30T10:00Z", "12:00,29 Mar,12:00,30 Mar"),
        ("2026-09-01T00:00Z", "2027-02-01T00:00Z", "Oct,Nov,Dec,2027,Feb"),
    ],
)
def test_in_local_time_ticks_are_at_local_hours_and_days(
    browser: Browser, site: Site, from_: str, to: str, labels: str
) -> None:
    with visit(browser, timezone_id="Europe/Berlin") as page:
        open_chart(page, site)
        ticks: list[Any] = page.evaluate(TICKS, [from_, to])
    assert [label for _, label in ticks] == labels.split(",")
