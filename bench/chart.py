"""docs/performance.svg: bars of how many times better tmon is than InfluxDB, on a log scale."""

from collections.abc import Sequence
from math import log10
from xml.sax.saxutils import escape

from bench.peers import INFLUX_NAME
from bench.report import number
from bench.targets import TIMES_SIGN, Result

WIDTH, LEFT, RIGHT, TOP, LINE, BOTTOM = 800, 260, 160, 56, 30, 30  # pixels
TICKS = (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)
TITLE = "How many times better tmon is than InfluxDB"
HEADING = "tmon beside InfluxDB: to the right of 1, tmon is that many times better"
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .title { font-size: 15px; font-weight: 600 } .quiet { fill: #59636e }
  .tick { stroke: #d1d9e0 } .one { stroke: #1f2328 }
  .reached { fill: #1a7f64 } .short { fill: #b35900 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .quiet { fill: #9198a1 }
    .tick { stroke: #3d444d } .one { stroke: #e6edf3 }
    .reached { fill: #3fb68b } .short { fill: #e3913a }
  }
"""


def render(lines: Sequence[Result]) -> str:
    """The chart as SVG, for light and dark pages."""
    bars = [
        (line, line.advantage)
        for line in lines
        if line.target.theirs == INFLUX_NAME and line.advantage
    ]
    scale = _Scale([advantage for _, advantage in bars])
    height = TOP + LINE * len(bars) + BOTTOM
    drawn = [_bar(scale, place, line, times) for place, (line, times) in enumerate(bars)]
    described = "; ".join(f"{line.target.work}: {number(times)}" for line, times in bars)
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>{TITLE}</title><desc>{escape(described)}</desc><style>{STYLE}</style>",
        f'<text x="8" y="22" class="title">{HEADING}</text>',
        *(_tick(scale, tick, height) for tick in scale.ticks),
        *drawn,
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


class _Scale:
    """A logarithmic scale of ratios, between the chart's edges."""

    def __init__(self, ratios: Sequence[float]) -> None:
        low, high = min([*ratios, 0.3]), max([*ratios, 3])
        first = max([tick for tick in TICKS if tick <= low], default=TICKS[0])
        last = min([tick for tick in TICKS if tick >= high], default=TICKS[-1])
        self.ticks = [tick for tick in TICKS if first <= tick <= last]
        self._low, self._span = log10(first), log10(last / first)

    def x(self, ratio: float) -> float:
        share = (log10(ratio) - self._low) / self._span
        return round(LEFT + min(max(share, 0), 1) * (WIDTH - LEFT - RIGHT), 1)


def _tick(scale: _Scale, tick: float, height: int) -> str:
    x, kind = scale.x(tick), "one" if tick == 1 else "tick"
    return (
        f'<line x1="{x}" x2="{x}" y1="{TOP - 8}" y2="{height - BOTTOM}" class="{kind}"/>'
        f'<text x="{x}" y="{height - 10}" text-anchor="middle" class="quiet">{tick:g}</text>'
    )


def _bar(scale: _Scale, place: int, line: Result, advantage: float) -> str:
    y = TOP + LINE * place
    one, end = scale.x(1), scale.x(advantage)
    left, right = min(one, end), max(one, end)
    kind = "reached" if line.verdict == "reached" else "short"
    label = f"{number(advantage)} {TIMES_SIGN}" + ("" if kind == "reached" else ", falls short")
    return (
        f'<text x="{LEFT - 10}" y="{y + 15}" text-anchor="end">{escape(line.target.chart)}</text>'
        f'<rect x="{left}" y="{y + 2}" width="{max(right - left, 1):.1f}" height="{LINE - 12}" '
        f'class="{kind}"/>'
        f'<text x="{right + 6}" y="{y + 15}">{escape(label)}</text>'
    )
