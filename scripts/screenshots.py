"""Take screenshots: the few of README and docs, and all pages of four stations to look at.

Those of the docs are of a station as `make run` makes it, some minutes old.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from playwright.sync_api import Browser, sync_playwright

from scripts import sample_stations

ROOT = Path(__file__).parent.parent
GALLERY = ROOT / "screenshots"  # git ignores it
DATA = ROOT / "data" / "ambient_temperature.csv"
CLIENT = ROOT / "client" / "client.py"
NODE = "raspberrypi"
LOAD = "load=cut -d' ' -f1 /proc/loadavg"
READINGS = 5
TMON = [sys.executable, "-m", "tmon"]
CHROMIUM = "/usr/bin/chromium"
ARGS = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update"


class Look(NamedTuple):
    """A screen; without a height, as high as the page, up to ``MOST_PX``."""

    width: int
    height: int | None
    scheme: Literal["light", "dark"]


# Of docs/NAME.png: the path and the look.
PICTURES = {
    "home": ("/", Look(1200, 760, "light")),
    "home-dark": ("/", Look(390, 844, "dark")),
    "node": ("/node/living-room?range=all", Look(1200, 800, "light")),
    "node-dark": ("/node/cellar?range=7d", Look(390, 800, "dark")),
    "readings": ("/tmon/readings", Look(1200, 800, "light")),
}


# Of each station: name and path of its pages.
COMPARED = "s=roof/temperature&s=garden/temperature&s=rack-1/power"
PAGES = {
    "nothing": {"home": "/", "map": "/map", "refused": "/refused", "kiosk": "/?kiosk"},
    "demo": {"home": "/", "node": "/node/living-room?range=all", "kiosk": "/?kiosk"},
    "mixed": {
        "home": "/",
        "tiles": "/?view=tiles",
        "favourites": "/?pick=1",
        "node": "/node/freezer",
        "node-gap": "/node/roof?range=7d",
        "sensor": "/node/store-b/temperature",
        "compare": f"/compare?{COMPARED}&title=In+and+out&before=week",
        "choose": "/compare",
        "year": "/year/roof/temperature",
        "map": "/map",
        "refused": "/refused",
        "tables": "/tmon",
        "table": "/tmon/readings",
        "question": "/tmon/day?node=roof",
        "sql": "/tmon/-/query",
        "error": "/tmon/-/query?sql=selec+1",
        "not-found": "/node/nobody",
        "kiosk": "/?kiosk",
        "kiosk-compare": f"/compare?{COMPARED}&kiosk",
    },
    "thousand": {"home": "/", "kiosk": "/?kiosk"},
}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
LOOKS = [Look(width, None, scheme) for width in (390, 820, 1440) for scheme in SCHEMES]
KIOSKS = [Look(800, 480, "light"), Look(1920, 1080, "light")]
MOST_PX = 2400  # of a page's height


def main() -> None:
    """Write docs/*.png and screenshots/*.png."""
    GALLERY.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as name,
        sync_playwright() as playwright,
    ):
        folder = Path(name)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS.split())
        with _station(folder) as url:
            for picture, (path, look) in PICTURES.items():
                _take(browser, url + path, ROOT / "docs" / f"{picture}.png", look)
            _take_all(browser, url, "demo")
        for station, make in (
            ("nothing", sample_stations.empty),
            ("mixed", sample_stations.mixed),
            ("thousand", sample_stations.thousand),
        ):
            own = folder / station
            own.mkdir()
            make(own / "tmon.db")
            with _serving(own, "serve", "datasette", "--datasette-port", "0") as urls:
                _take_all(browser, urls["datasette"].removesuffix("/tmon/readings"), station)
        browser.close()


def _take_all(browser: Browser, url: str, station: str) -> None:
    """All pages of a station in all looks."""
    for name, path in PAGES[station].items():
        for look in KIOSKS if "kiosk" in path else LOOKS:
            picture = GALLERY / f"{station}-{name}-{look.width}-{look.scheme}.png"
            _take(browser, url + path, picture, look)


def _take(browser: Browser, url: str, picture: Path, look: Look) -> None:
    page = browser.new_page(
        viewport={"width": look.width, "height": look.height or 900},
        color_scheme=look.scheme,
        timezone_id="UTC",
    )
    page.goto(url)
    page.wait_for_load_state("networkidle")
    if look.height is None:
        whole = page.evaluate("document.documentElement.scrollHeight")
        page.set_viewport_size({"width": look.width, "height": min(whole, MOST_PX)})
    page.screenshot(path=picture)
    page.close()
    print(picture.relative_to(ROOT))


@contextmanager
def _station(folder: Path) -> Iterator[str]:
    """Run a station with the demo and a node of its own; yield the URL of its pages."""
    _run(folder, *TMON, "demo", "add", str(DATA))
    token = _run(folder, *TMON, "token", "get", NODE).strip()
    serve = ("serve", "--port", "0", "--datasette-port", "0")
    with _serving(folder, *serve, addresses=2) as urls:
        url = urls["ingest"].removesuffix("/readings")
        settings = ("--url", url, "--token", token, "--spool", str(folder / "spool.db"))
        for _ in range(READINGS):
            client = (sys.executable, str(CLIENT), *settings, "--jitter-s", "0")
            _run(folder, *client, "--command", LOAD)
        yield urls["datasette"].removesuffix("/tmon/readings")


@contextmanager
def _serving(folder: Path, *arguments: str, addresses: int = 1) -> Iterator[dict[str, str]]:
    """Run ``tmon`` with some arguments; yield the addresses that it prints."""
    command = [*TMON, *arguments]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)  # noqa: S603
    try:
        assert process.stdout is not None  # noqa: S101
        yield dict(process.stdout.readline().split() for _ in range(addresses))
    finally:
        process.terminate()
        process.wait()


def _run(folder: Path, *command: str) -> str:
    ran = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)  # noqa: S603
    return ran.stdout


if __name__ == "__main__":
    main()
