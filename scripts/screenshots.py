"""Take the screenshots for README and docs: a station as `make run` makes it, some minutes old."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).parent.parent
DATA = ROOT / "data" / "ambient_temperature.csv"
CLIENT = ROOT / "client" / "client.py"
NODE = "raspberrypi"
LOAD = "load=cut -d' ' -f1 /proc/loadavg"
READINGS = 5
TMON = [sys.executable, "-m", "tmon"]
CHROMIUM = "/usr/bin/chromium"
ARGS = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update"

# name: (path, width, height, colour scheme)
PICTURES = {
    "home": ("/", 1200, 760, "light"),
    "home-dark": ("/", 390, 844, "dark"),
    "node": ("/node/living-room?range=all", 1200, 800, "light"),
    "node-dark": ("/node/cellar?range=7d", 390, 800, "dark"),
    "readings": ("/tmon/readings", 1200, 800, "light"),
}


def main() -> None:
    """Write docs/*.png."""
    with (
        tempfile.TemporaryDirectory() as folder,
        _station(Path(folder)) as url,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS.split())
        for name in PICTURES:
            _take(browser, url, name)
        browser.close()


def _take(browser: Browser, url: str, name: str) -> None:
    path, width, height, scheme = PICTURES[name]
    page = browser.new_page(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
        timezone_id="UTC",
    )
    page.goto(url + path)
    page.wait_for_load_state("networkidle")
    page.screenshot(path=ROOT / "docs" / f"{name}.png")
    page.close()
    print(f"docs/{name}.png")


@contextmanager
def _station(folder: Path) -> Iterator[str]:
    """Run a station with the demo and a node of its own; yield the URL of its pages."""
    _run(folder, *TMON, "demo", "add", str(DATA))
    token = _run(folder, *TMON, "token", "get", NODE).strip()
    serve = [*TMON, "serve", "--port", "0", "--datasette-port", "0"]
    process = subprocess.Popen(serve, cwd=folder, stdout=subprocess.PIPE, text=True)  # noqa: S603
    try:
        assert process.stdout is not None  # noqa: S101
        urls = dict(process.stdout.readline().split() for _ in range(2))
        url = urls["ingest"].removesuffix("/readings")
        settings = ("--url", url, "--token", token, "--spool", str(folder / "spool.db"))
        for _ in range(READINGS):
            client = (sys.executable, str(CLIENT), *settings, "--jitter-s", "0")
            _run(folder, *client, "--command", LOAD)
        yield urls["datasette"].removesuffix("/tmon/readings")
    finally:
        process.terminate()
        process.wait()


def _run(folder: Path, *command: str) -> str:
    ran = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)  # noqa: S603
    return ran.stdout


if __name__ == "__main__":
    main()
