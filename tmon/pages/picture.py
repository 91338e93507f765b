"""Charts as an SVG file, for mails and READMEs: one below the other, without a script."""

import re
from collections.abc import Sequence
from textwrap import shorten

from datasette import Response
from markupsafe import Markup

from tmon.core.time import iso
from tmon.pages import svg
from tmon.pages.annotations import Annotations
from tmon.pages.chart_page import value_kinds
from tmon.pages.charts import ChartView
from tmon.pages.points import Line
from tmon.pages.spans import Span

WIDTH, PANEL_HEIGHT, HEADER_HEIGHT, LEGEND_LINE = 720, 300, 24, 16  # pixels
MAX_LEGEND = 90  # characters in a line of the legend
MAX_NOTES = 5  # told below the legend
POLICY = "default-src 'none'; style-src 'unsafe-inline'"

# The colours of tmon.css: a file of its own can't use it.
LIGHT = "#0969b3 #c24f00 #00805e #b0447f #8a6d00 #1d77a6 #5b4fa8 #59636e".split()
DARK = "#5db0f0 #f08a4b #3fc79d #e58fbf #d9b53a #8fd0f5 #a89df0 #9aa5b0".split()

_FILE = Markup(
    """<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" \
viewBox="0 0 {width} {height}" role="img" aria-label="{label}, {span}">
<style>
  svg {{ font: 12px system-ui, sans-serif; color-scheme: light dark; overflow: visible }}
  svg svg svg {{ overflow: hidden }}
  path {{ fill: none; vector-effect: non-scaling-stroke }}
  .paper {{ fill: #fff }} text {{ fill: #1c2228 }} .tick {{ fill: #59636e }}
  .grid {{ stroke: #e3e7ea }} .line {{ stroke-width: 1.6 }} .before {{ stroke-opacity: .5 }}
  .dot {{ stroke-width: 4; stroke-linecap: round }}
  .band {{ fill-opacity: .18; stroke: none }} .flag {{ fill: #59636e; fill-opacity: .2 }}
  .level {{ stroke: #a8001c; stroke-dasharray: 6 4 }}
  .mark line {{ stroke: #59636e; stroke-width: 7; stroke-linecap: round }}
  .mark.critical line {{ stroke: #a8001c }} .mark.warning line {{ stroke: #b35900 }}
  .mark.note line {{ stroke: #0a5a9c }} .mark .target {{ display: none }}
  .mark.note .stem {{ stroke-width: 1; stroke-dasharray: 2 3 }}
  {light}
  @media (prefers-color-scheme: dark) {{
    .paper {{ fill: #14181c }} text {{ fill: #e4e8ec }} .tick {{ fill: #9aa5b0 }}
    .grid {{ stroke: #2b3239 }} .flag {{ fill: #9aa5b0 }} .level {{ stroke: #ff8a80 }}
    .mark line {{ stroke: #9aa5b0 }} .mark.critical line {{ stroke: #ff8a80 }}
    .mark.warning line {{ stroke: #f0a35e }} .mark.note line {{ stroke: #7cbcf2 }}
    {dark}
  }}
</style>
<rect class="paper" width="100%" height="100%"/>
<text x="16" y="20"><tspan font-weight="600">{title}</tspan> <tspan class="tick">{values}</tspan>\
</text>
<text class="tick" x="{width}" dx="-16" y="20" text-anchor="end">{span}</text>
{panels}
</svg>
"""
)
_PANEL = Markup(
    """{legend}
<svg x="48" y="{y}" width="{width}" height="{height}">{drawing}{marks}\
<text class="tick" x="-22" y="100%" dy="17" text-anchor="end">UTC</text></svg>
"""
)


# What XML can't hold, and would make the whole file unreadable.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def svg_response(view: ChartView, title: str) -> Response:
    """The charts of a page as a file."""
    headers = {"content-security-policy": POLICY, "cache-control": "max-age=60"}
    content_type = "image/svg+xml; charset=utf-8"
    return Response(picture(view, title), content_type=content_type, headers=headers)


def picture(view: ChartView, title: str) -> str:
    """The charts of a page as SVG; without a title, the legends say what they are."""
    panels, top = [], HEADER_HEIGHT
    names = ", ".join(sensor.label for sensor in view.sensors)
    for lines, annotations in zip(view.charts, view.annotations, strict=True):
        panel, height = _panel(lines, view.span, annotations, top)
        panels.append(panel)
        top += height
    svg_file = _FILE.format(
        width=WIDTH,
        height=top,
        title=title,
        label=title or names,
        span=view.span.in_words,
        values=value_kinds(view),
        light=_colours(LIGHT),
        dark=_colours(DARK),
        panels=Markup("").join(panels),
    )
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", svg_file)


def _panel(
    lines: Sequence[Line], span: Span, annotations: Annotations, top: int
) -> tuple[Markup, int]:
    """A chart with its legend above it, and the height of both."""
    legend = [*_legend(lines), *_notes(annotations)]
    legend_height = len(legend) * LEGEND_LINE
    texts = [
        Markup('<text x="48" y="{}">{}</text>').format(
            top + (number + 1) * LEGEND_LINE, Markup(" \N{NO-BREAK SPACE} ").join(spans)
        )
        for number, spans in enumerate(legend)
    ]
    frame = svg.frame(lines, span, annotations)
    panel = _PANEL.format(
        legend=Markup("").join(texts),
        y=top + legend_height + 12,
        width=WIDTH - 64,
        height=PANEL_HEIGHT - 76,
        drawing=svg.drawing(lines, frame, annotations),
        marks=svg.marks(annotations.marks, span, links=False),
    )
    return panel, legend_height + PANEL_HEIGHT - 36


def _legend(lines: Sequence[Line]) -> list[list[Markup]]:
    """The names of the lines in their colours, in lines of text; the unit comes first."""
    rows: list[list[Markup]] = [[]]
    length = 0
    if lines[0].sensor.unit:
        rows[0].append(Markup("<tspan>{}</tspan>").format(lines[0].sensor.unit))
    for place, line in svg.placed(lines):
        label = f"{line.sensor.label}, {line.before}" if line.before else line.sensor.label
        if length and length + len(label) > MAX_LEGEND:
            rows.append([])
            length = 0
        length += len(label) + 3
        rows[-1].append(
            Markup('<tspan class="key k{}{}">{}</tspan>').format(
                place, " before" if line.before else "", f"\N{EM DASH} {label}"
            )
        )
    return rows


def _notes(annotations: Annotations) -> list[list[Markup]]:
    """The newest notes as lines of text: a picture has nothing to click."""
    notes = [mark for mark in annotations.marks if mark.kind == "note"][:MAX_NOTES]
    texts = [f"{iso(note.from_ms)[:16].replace('T', ' ')} {note.text}" for note in notes]
    return [
        [Markup('<tspan class="tick">{}</tspan>').format(shorten(text, MAX_LEGEND))]
        for text in texts
    ]


def _colours(colours: Sequence[str]) -> Markup:
    """CSS for the lines, bands and names of each colour."""
    return Markup(" ").join(
        Markup(".c{0} {{ stroke: {1} }} .k{0}, .band.c{0} {{ fill: {1} }}").format(place, colour)
        for place, colour in enumerate(colours)
    )
