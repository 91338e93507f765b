"""Charts as SVG: for pages without scripts, embedded charts and pictures.

The frame and the ticks follow the rules of plugins/static/ticks.js, so that nothing moves when
the browser draws a chart again.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import MAXYEAR, UTC, datetime
from itertools import pairwise
from typing import NamedTuple

from markupsafe import Markup

from tmon.core.languages import gettext
from tmon.core.time import DAY_MS, HOUR_MS, as_datetime, as_ms
from tmon.pages.annotations import Annotations, value_range
from tmon.pages.marks import Mark
from tmon.pages.months import day_and_month, months
from tmon.pages.points import Line
from tmon.pages.spans import Span
from tmon.pages.switches import WORDS, is_on_off

SIDE = 10_000  # of the square that lines are drawn in; the browser stretches it
MAX_TIME_TICKS, MAX_VALUE_TICKS = 6, 6  # what fits a phone's width and a chart's height
MIN_FLAG_WIDTH = 20  # about two pixels
MAX_TICK, MAX_DECIMALS = 1e6, 5  # an axis has no room for more digits
MAX_DOTS = 60  # a line with no more points also shows each as a dot

NO_ANNOTATIONS = Annotations()

_STEPS_MS = (
    *(minutes * 60_000 for minutes in (1, 2, 5, 10, 15, 30)),
    *(hours * HOUR_MS for hours in (1, 2, 3, 6, 12)),
    *(days * DAY_MS for days in (1, 2, 5, 10, 15)),
)
_YEARS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
_STEPS_MONTHS = (1, 2, 3, 6, *(12 * years for years in _YEARS))


class Frame(NamedTuple):
    """The area of a chart: a span of time, and values from low to high."""

    span: Span
    low: float
    high: float
    step: float  # between two ticks of the axis
    is_on_off: bool = False  # 0 and 1 are off and on

    def x(self, instant_ms: float) -> float:
        """An instant's place from left to right, from 0 to 1."""
        return (instant_ms - self.span.start_ms) / self.span.length_ms

    def y(self, value: float) -> float:
        """A value's place from top to bottom, from 0 to 1."""
        return (self.high - value) / (self.high - self.low)


def frame(lines: Sequence[Line], span: Span, annotations: Annotations = NO_ANNOTATIONS) -> Frame:
    """The smallest frame for all points and limits, with round numbers at its edges.

    An edge that is fixed is just there.
    """
    if shows_on_off(lines, annotations):
        return Frame(span, 0, 1, 1, is_on_off=True)
    fixed_low, fixed_high = annotations.fixed
    edges = [*(value_range(lines) or (0.0, 1.0)), *(one.value for one in annotations.limits)]
    low = min(edges) if fixed_low is None else fixed_low
    high = max(edges) if fixed_high is None else fixed_high
    if high - low <= 1e-12 * max(abs(low), abs(high)):  # equal, or beyond a fixed edge
        margin = 0.5 if abs(low) < MAX_TICK else abs(low) / 10
        if fixed_high is None:
            low, high = (low - margin if fixed_low is None else low), low + margin
        else:
            low = high - margin
    # The smallest of 1, 2 and 5 times a power of ten that makes few enough ticks.
    least = (high - low) / (MAX_VALUE_TICKS - 1)
    power = float(f"1e{math.floor(math.log10(least))}")
    step = next(power * by for by in (1, 2, 5, 10) if power * by >= least * (1 - 1e-9))
    return Frame(
        span,
        math.floor(low / step) * step if fixed_low is None else low,
        math.ceil(high / step) * step if fixed_high is None else high,
        step,
    )


def shows_on_off(lines: Sequence[Line], annotations: Annotations) -> bool:
    """Whether a chart has nothing but switches, so that its axis says off and on."""
    is_free = annotations.fixed == (None, None) and not annotations.limits
    return is_free and bool(lines) and all(map(is_on_off, lines))


def drawing(
    lines: Sequence[Line],
    within: Frame,
    annotations: Annotations = NO_ANNOTATIONS,
    times: Sequence[tuple[int, str]] | None = None,
) -> Markup:
    """The content of an ``<svg>`` of any size; ticks are drawn outside of its edges.

    ``times`` are instants with labels for the axis, where it isn't one of dates.
    """
    times = [*_time_ticks(within.span)] if times is None else times
    in_order = sorted(placed(lines), key=lambda one: not one[1].before)  # the earlier ones below
    return Markup(
        '<svg viewBox="0 0 {0} {0}" width="100%" height="100%" preserveAspectRatio="none">{1}</svg>'
        "{2}"
    ).format(
        SIDE,
        Markup("").join(
            [
                *_annotations(annotations, within),
                *_grid(within, times),
                *(part for place, line in in_order for part in _line(line, within, place)),
            ]
        ),
        Markup("").join(_tick_labels(within, times)),
    )


def marks(found: Iterable[Mark], span: Span, *, links: bool = True) -> Markup:
    """The content of an ``<svg>`` that lies over a drawing; each mark leads to its line below.

    Incidents are above the chart, notes at its top and flagged periods at its bottom, so that one
    doesn't hide the other.
    """
    parts = []
    for mark in found:
        if mark.until_ms < span.start_ms or mark.from_ms >= span.end_ms:
            continue
        left, right = (
            f"{min(max((at - span.start_ms) / span.length_ms, 0), 1) * 100:.2f}%"
            for at in (mark.from_ms, mark.until_ms)
        )
        y = {"note": "7", "flag": "100%"}.get(mark.kind, "-5")
        ends = Markup('x1="{}" x2="{}" y1="{y}" y2="{y}"').format(left, right, y=y)
        # A script draws one that is still open on as time goes on.
        to = "" if mark.to_ms is None else Markup(' data-to="{}"').format(mark.to_ms)
        stem = Markup('<line class="stem" x1="{0}" x2="{0}" y2="100%"/>').format(left)
        parts.append(
            Markup(
                '<{0} class="mark {1}" data-from="{2}"{3}><title>{4}: {5}</title>{6}'
                '<line class="target" {7}/><line {7}/></{8}>'
            ).format(
                Markup('a href="#{}"').format(mark.anchor) if links else "g",
                *(mark.kind, mark.from_ms, to, mark.about, mark.text),
                *(stem if mark.kind == "note" else "", ends, "a" if links else "g"),
            )
        )
    return Markup("").join(parts)


def placed(lines: Sequence[Line]) -> list[tuple[int, Line]]:
    """Lines with the numbers of their colours.

    The lines of an earlier span come after the others and have the same colours.
    """
    own = sum(not line.before for line in lines) or 1
    return [(place % own, line) for place, line in enumerate(lines)]


def _annotations(annotations: Annotations, within: Frame) -> Iterator[Markup]:
    """Shades for flagged periods, with the reason as title, and dashed lines for limits."""
    for _, flag in annotations.flags:
        left, right = (min(max(within.x(at), 0), 1) * SIDE for at in (flag.from_ms, flag.to_ms))
        if left < right:
            yield Markup(
                '<rect class="flag" x="{:.0f}" width="{:.0f}" height="{}"><title>{}</title></rect>'
            ).format(left, max(right - left, MIN_FLAG_WIDTH), SIDE, flag.reason)
    for limit in annotations.limits:
        yield Markup('<path class="level" d="M0,{:.0f}H{}"/>').format(
            within.y(limit.value) * SIDE, SIDE
        )


def _line(line: Line, within: Frame, place: int) -> Iterator[Markup]:
    """A band from low to high, and the line; ``place`` chooses the colour.

    The line of an earlier span has no band: it would hide the other.
    """

    def path(name: str, points: Sequence[tuple[float, float]], end: str = "") -> Markup:
        coordinates = "L".join(
            f"{within.x(at + line.half_step_ms) * SIDE:.0f},{within.y(value) * SIDE:.0f}"
            for at, value in points
        )
        return Markup('<path class="{} c{}{}" d="M{}{}"/>').format(
            name, place, " before" if line.before else "", coordinates, end
        )

    for run in _without_gaps(line.drawn, line.gap_ms):
        middle = [(point[0], point[1]) for point in run]
        dots = middle
        if line.stepped:  # a value holds until the next one
            middle = middle[:1] + [
                point
                for before, after in pairwise(middle)
                for point in ((after[0], before[1]), after)
            ]
        if len(run[0]) > 2 and not line.before:
            low = [(point[0], point[2]) for point in run]
            high = [(point[0], point[3]) for point in reversed(run)]
            yield path("band", [*low, *high], "Z")
        yield path("line", middle)
        if len(run) == 1 or (len(line.points) <= MAX_DOTS and not line.before):
            yield from (path("dot", [point], "h0") for point in dots)


def _without_gaps(
    points: Iterable[tuple[float, ...]], gap: float
) -> Iterator[list[tuple[float, ...]]]:
    """Split the points where they are further apart than ``gap``."""
    run: list[tuple[float, ...]] = []
    for point in points:
        if run and point[0] - run[-1][0] > gap:
            yield run
            run = []
        run.append(point)
    if run:
        yield run


def _grid(within: Frame, times: Sequence[tuple[int, str]]) -> Iterator[Markup]:
    for value, _ in _value_ticks(within):
        yield Markup('<path class="grid" d="M0,{:.0f}H{}"/>').format(within.y(value) * SIDE, SIDE)
    for instant_ms, _ in times:
        x = within.x(instant_ms) * SIDE
        yield Markup('<path class="grid time" d="M{:.0f},0V{}"/>').format(x, SIDE)


def _tick_labels(within: Frame, times: Sequence[tuple[int, str]]) -> Iterator[Markup]:
    for value, label in _value_ticks(within):
        yield Markup(
            '<text class="tick" x="-6" y="{:.1f}%" dy="4" text-anchor="end">{}</text>'
        ).format(within.y(value) * 100, label)
    for instant_ms, label in times:
        yield Markup(
            '<text class="tick time" x="{:.1f}%" y="100%" dy="17" text-anchor="middle">{}</text>'
        ).format(within.x(instant_ms) * 100, label)


def _value_ticks(within: Frame) -> Iterator[tuple[float, str]]:
    """The multiples of the frame's step, with their labels."""
    if within.is_on_off:
        yield from ((value, gettext(word)) for value, word in WORDS.items())
        return
    first = math.ceil(within.low / within.step - 1e-9)
    last = math.floor(within.high / within.step + 1e-9)
    # 1e-9: the logarithm of 0.001 may come out a little below -3.
    decimals = max(0, -math.floor(math.log10(within.step) + 1e-9))
    for number in range(first, last + 1):
        value = number * within.step
        if abs(value) < MAX_TICK and decimals <= MAX_DECIMALS:
            label = f"{value:.{decimals}f}"
        else:  # 2.5e7; Python rounds half to even, JavaScript up: 1e-12 makes it up for both
            label = re.sub(r"e\+?(-?)0*", r"e\1", f"{value * (1 + 1e-12):.6g}")
        yield value, label.replace("-", "\N{MINUS SIGN}")


def _time_ticks(span: Span) -> Iterator[tuple[int, str]]:
    """Round instants (UTC) of a span, with their labels."""
    step_ms = next((step for step in _STEPS_MS if span.length_ms / step <= MAX_TIME_TICKS), None)
    if step_ms is None:
        yield from _month_ticks(span)
        return
    first_ms = -(-span.start_ms // step_ms) * step_ms
    for instant_ms in range(first_ms, span.end_ms, step_ms):
        at = as_datetime(instant_ms)
        midnight = at.hour == at.minute == 0
        yield instant_ms, day_and_month(at) if midnight else f"{at:%H:%M}"


def _month_ticks(span: Span) -> Iterator[tuple[int, str]]:
    """First days of months, for a span of more than a few months."""
    step = next(
        step for step in _STEPS_MONTHS if span.length_ms / (step * 30 * DAY_MS) <= MAX_TIME_TICKS
    )
    first = as_datetime(span.start_ms).year * 12 // step * step or step  # there is no year 0
    for month in range(first, (MAXYEAR + 1) * 12, step):
        at = datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC)
        instant_ms = as_ms(at)
        if instant_ms >= span.end_ms:
            return
        if instant_ms >= span.start_ms:
            yield instant_ms, f"{at.year}" if at.month == 1 else months()[at.month - 1]
