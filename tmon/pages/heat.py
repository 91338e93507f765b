"""A year as a heat map of days and hours, and as a calendar of daily means: SVG without scripts.

The hours are one small PNG: 8,784 squares would be half a megabyte of SVG.
"""

import struct
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from statistics import quantiles
from typing import NamedTuple

from markupsafe import Markup, escape

from tmon.core.languages import gettext
from tmon.core.time import DAY_MS, HOUR_MS, as_datetime
from tmon.pages.months import months
from tmon.pages.year_data import Hour, Year, by_day

# Viridis: as light grows so does the value, so colour-blind people and printers can read it.
COLOURS = (
    *((0x44, 0x01, 0x54), (0x48, 0x28, 0x78), (0x3E, 0x4A, 0x89), (0x31, 0x68, 0x8E)),
    *((0x26, 0x82, 0x8E), (0x1F, 0x9E, 0x89), (0x35, 0xB7, 0x79), (0x6E, 0xCE, 0x58)),
    *((0xB5, 0xDE, 0x2B), (0xFD, 0xE7, 0x25)),
)
SHADES = 255  # of a palette's 256 entries; the first is transparent
LEGEND_TICKS = 3  # what fits a phone's width
WEEKDAYS = (0, 2, 4, 6)  # which have their name beside them, Monday to Sunday
HOURS = (0, 6, 12, 18)


class Day(NamedTuple):
    """A day of the year, from 0, with its mean; the address of its chart and its label."""

    number: int
    mean: float
    href: Markup
    label: Markup


class Scale(NamedTuple):
    """Colours for values from low to high; those beyond have the colours of the ends.

    The ends leave out one value in two hundred on each side: one spike shall not cost the others
    their colours.
    """

    low: float
    high: float

    def shade(self, value: float) -> int:
        """The entry of the palette, from 1."""
        part = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return 1 + round(min(max(part, 0), 1) * (SHADES - 1))

    def colour(self, value: float) -> str:
        red, green, blue = PALETTE[self.shade(value)]
        return f"#{red:02x}{green:02x}{blue:02x}"

    def ticks(self) -> list[float]:
        step = (self.high - self.low) / (LEGEND_TICKS - 1)
        return [self.low + number * step for number in range(LEGEND_TICKS)]


def _palette() -> list[tuple[int, int, int]]:
    shades = [(0, 0, 0)]
    for shade in range(SHADES):
        place = shade / (SHADES - 1) * (len(COLOURS) - 1)
        first = min(int(place), len(COLOURS) - 2)
        ends = zip(COLOURS[first], COLOURS[first + 1], strict=True)
        red, green, blue = (round(a + (b - a) * (place - first)) for a, b in ends)
        shades.append((red, green, blue))
    return shades


PALETTE = _palette()


def scale_of(year: Year) -> Scale:
    """The colours for a year that has readings."""
    means = [hour.mean for hour in year.hours]
    if len(means) == 1:
        return Scale(means[0], means[0])
    cuts = quantiles(means, n=200, method="inclusive")
    return Scale(cuts[0], cuts[-1])


def days_of(year: Year, link: Callable[[int], str], label: Callable[[Hour], str]) -> list[Day]:
    """The days that have readings; ``link`` gives the address of the chart of a day's start."""
    return [
        Day(
            (day.start_ms - year.span.start_ms) // DAY_MS,
            day.mean,
            escape(link(day.start_ms)),
            escape(label(day)),
        )
        for day in by_day(year.hours)
    ]


def heat_map(year: Year, scale: Scale, days: Sequence[Day]) -> Markup:
    """The content of an ``<svg>`` of any size: a column for each day, midnight at its top."""
    pixels = [bytearray(year.days) for _ in range(24)]
    for hour in year.hours:
        since_ms = hour.start_ms - year.span.start_ms
        pixels[since_ms % DAY_MS // HOUR_MS][since_ms // DAY_MS] = scale.shade(hour.mean)
    columns = "".join(
        f'<a href="{day.href}"><title>{day.label}</title>'
        f'<rect class="day" x="{day.number}" width="1" height="24"/></a>'
        for day in days
    )
    labels = [
        Markup('<text class="tick" x="-6" y="{:.1f}%" dy="4" text-anchor="end">{:02}:00</text>')
        .format((hour + 0.5) / 24 * 100, hour)
        for hour in HOURS
    ]  # fmt: skip
    months = _months(lambda number: number / year.days, year)
    return Markup(
        '<svg viewBox="0 0 {0} 24" width="100%" height="100%" preserveAspectRatio="none">'
        '<rect class="missing" width="{0}" height="24"/>{1}{2}</svg>{3}'
    ).format(
        year.days,
        _image(pixels, year.days, 24),
        Markup(columns),  # noqa: S704 - a Day's texts are escaped
        Markup("").join([*labels, *months]),
    )


def calendar(year: Year, scale: Scale, days: Sequence[Day]) -> Markup:
    """The content of an ``<svg>`` of any size: a column for each week, Monday at its top."""
    first = as_datetime(year.span.start_ms).weekday()
    weeks = (first + year.days - 1) // 7 + 1

    squares = "".join(
        f'<a href="{day.href}"><title>{day.label}</title>'
        f'<rect class="day" x="{week}.05" y="{weekday}.05" width=".9" height=".9"'
        f' fill="{scale.colour(day.mean)}"/></a>'
        for day in days
        for week, weekday in [divmod(first + day.number, 7)]
    )
    names = gettext("Mon Tue Wed Thu Fri Sat Sun").split()
    labels = [
        Markup('<text class="tick" x="-6" y="{:.1f}%" dy="4" text-anchor="end">{}</text>').format(
            (number + 0.5) / 7 * 100, names[number]
        )
        for number in WEEKDAYS
    ]
    months = _months(lambda number: (first + number) // 7 / weeks, year)
    return Markup(
        '<svg viewBox="0 0 {} 7" width="100%" height="100%" preserveAspectRatio="none">{}</svg>{}'
    ).format(
        weeks,
        Markup(squares),  # noqa: S704 - a Day's texts are escaped
        Markup("").join([*labels, *months]),
    )


def legend(year: Year, scale: Scale, text: Callable[[float], str]) -> Markup:
    """The content of an ``<svg>`` of any width: all shades, and the values of some."""
    shades = _image([bytearray(range(1, SHADES + 1))], SHADES, 1)
    ticks = scale.ticks() if scale.high > scale.low else [scale.low]
    beyond = [
        ("\N{LESS-THAN OR EQUAL TO} " if min(hour.mean for hour in year.hours) < scale.low else ""),
        *[""] * (len(ticks) - 2),
        ("\N{GREATER-THAN OR EQUAL TO} " if max(h.mean for h in year.hours) > scale.high else ""),
    ]
    last = len(ticks) - 1
    labels = [
        Markup(
            '<text class="tick" x="{:.0f}%" y="100%" dy="15" text-anchor="{}">{}{}</text>'
        ).format(
            number / (last or 1) * 100,
            "start" if number == 0 else "end" if number == last else "middle",
            beyond[number],
            text(value),
        )
        for number, value in enumerate(ticks)
    ]
    return Markup(
        '<svg viewBox="0 0 {} 1" width="100%" height="100%" preserveAspectRatio="none">{}</svg>{}'
    ).format(SHADES, shades, Markup("").join(labels))


def _months(place: Callable[[int], float], year: Year) -> Iterator[Markup]:
    """The names of the months below, each where its first day is."""
    for month in range(1, 13):
        first = date(year.number, month, 1)
        number = (first - date(year.number, 1, 1)).days
        yield Markup('<text class="tick" x="{:.1f}%" y="100%" dy="15">{}</text>').format(
            place(number) * 100, months()[month - 1]
        )


def _image(rows: list[bytearray], width: int, height: int) -> Markup:
    """Pixels of the palette as an ``<image>``, stretched without a blur."""
    data = b64encode(_png(rows, width, height)).decode("ascii")
    return Markup(
        '<image href="data:image/png;base64,{}" width="{}" height="{}"'
        ' preserveAspectRatio="none" image-rendering="pixelated"/>'
    ).format(data, width, height)


def _png(rows: list[bytearray], width: int, height: int) -> bytes:
    """A PNG with the palette (colour type 3), 8 bits a pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    lines = b"".join(b"\0" + row for row in rows)  # 0: no filter
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            chunk(b"PLTE", bytes(part for colour in PALETTE for part in colour)),
            chunk(b"tRNS", b"\0"),  # the first entry is transparent
            chunk(b"IDAT", zlib.compress(lines, 9)),
            chunk(b"IEND", b""),
        )
    )
