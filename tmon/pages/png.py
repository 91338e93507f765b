"""Charts as a PNG, which other sites show beside a link: the SVG file, drawn by resvg."""

import asyncio
import re
from hashlib import blake2b
from pathlib import Path
from typing import Any

from datasette import Response

from tmon.pages.charts import ChartView
from tmon.pages.picture import picture
from tmon.pages.svg import SIDE

WIDTH = 1200  # pixels, as sites that show pictures of links ask for
MOST_AT_FULL_WIDTH = 4  # charts; more are drawn as large as in the SVG, to need less memory
SMALL_WIDTH = 720
# A Raspberry Pi may have no font at all.
FONT = Path(__file__).parent / "fonts" / "DejaVuSans.ttf"
_OTHER_SCRIPTS = re.compile("[^\\x00-\u045f\u1e00-\u22ff]")  # which FONT doesn't have

_STRETCHED = re.compile(
    rf'width="(\d+)" height="(\d+)"><svg viewBox="0 0 {SIDE} {SIDE}"[^>]*>(.*?)</svg>', re.DOTALL
)
_COMMAND = re.compile(r"([A-Za-z])([^A-Za-z]*)")  # of a path, with its numbers
_NUMBER = re.compile(r"-?[\d.]+")


async def png_response(request: Any, view: ChartView, title: str) -> Response:
    """The charts of a page as a picture; 304 if the client has it."""
    svg = await asyncio.to_thread(picture, view, title)
    etag = f'"{blake2b(svg.encode(), digest_size=12).hexdigest()}"'
    headers = {"etag": etag, "cache-control": "max-age=60"}
    if request.headers.get("if-none-match") == etag:
        return Response("", status=304, headers=headers)
    width = WIDTH if len(view.charts) <= MOST_AT_FULL_WIDTH else SMALL_WIDTH
    png = await asyncio.to_thread(draw, svg, width)
    return Response(png, content_type="image/png", headers=headers)


def draw(svg: str, width: int) -> bytes:
    """An SVG file as PNG."""
    from resvg_py import svg_to_bytes  # noqa: PLC0415 (3 MB, for who asks)

    return svg_to_bytes(
        svg_string=_STRETCHED.sub(_at_real_size, svg),
        width=width,
        font_files=[str(FONT)],
        sans_serif_family="DejaVu Sans",
        font_family="DejaVu Sans",
        skip_system_fonts=not _OTHER_SCRIPTS.search(svg),
    )


def _at_real_size(match: re.Match[str]) -> str:
    """A stretched drawing with its coordinates in pixels: resvg would stretch the strokes too."""
    width, height, content = int(match[1]), int(match[2]), match[3]
    scale = {"x": width / SIDE, "width": width / SIDE, "y": height / SIDE, "height": height / SIDE}

    def path(found: re.Match[str]) -> str:
        return f'd="{_COMMAND.sub(command, found[1])}"'

    def command(found: re.Match[str]) -> str:
        axes = {"H": "x", "V": "y"}.get(found[1].upper(), "xy")
        numbers = (
            f"{float(number) * scale[axes[place % len(axes)]]:.2f}"
            for place, number in enumerate(_NUMBER.findall(found[2]))
        )
        return found[1] + " ".join(numbers)

    def rect(found: re.Match[str]) -> str:
        return re.sub(
            r'\b(x|y|width|height)="([\d.]+)"',
            lambda size: f'{size[1]}="{float(size[2]) * scale[size[1]]:.2f}"',
            found[0],
        )

    content = re.sub(r'\bd="([^"]*)"', path, content)
    content = re.sub("<rect [^>]*>", rect, content)
    size = f'width="{width}" height="{height}"'
    return f"{size}><svg {size}>{content}</svg>"
