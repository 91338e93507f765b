"""Take the screenshots for README and docs, with the temperatures in data/.

They are split into three parts, one for each node, and moved in time so that they end now.
"""

import csv
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).parent.parent
DATA = ROOT / "data" / "ambient_temperature.csv"
NODES = ("attic", "office", "workshop")
TMON = [sys.executable, "-m", "tmon"]
CHROMIUM = "/usr/bin/chromium"
ARGS = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update"

# name: (path, width, height, colour scheme)
PICTURES = {
    "home": ("/", 1200, 640, "light"),
    "home-dark": ("/", 390, 700, "dark"),
    "node": ("/node/office?range=all", 1200, 800, "light"),
    "node-dark": ("/node/office?range=7d", 390, 800, "dark"),
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
    """Run a station with the nodes; yield the URL of its pages."""
    for number, node in enumerate(NODES):
        part = folder / f"{node}.csv"
        _write_part(part, number)
        flags = ("--node", node, "--time", "timestamp", "--value", "value=temperature:°F")
        command = [*TMON, "import", str(part), *flags]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    serve = [*TMON, "serve", "--port", "0", "--datasette-port", "0"]
    process = subprocess.Popen(serve, cwd=folder, stdout=subprocess.PIPE, text=True)  # noqa: S603
    try:
        assert process.stdout is not None  # noqa: S101
        urls = dict(process.stdout.readline().split() for _ in range(2))
        yield urls["datasette"].removesuffix("/tmon/readings")
    finally:
        process.terminate()
        process.wait()


def _write_part(path: Path, number: int) -> None:
    """Write one part of the readings as CSV, moved so that the last is some minutes old."""
    with DATA.open() as file:
        rows = list(csv.DictReader(file))
    size = len(rows) // len(NODES)
    part = rows[number * size : (number + 1) * size]
    end = datetime.fromtimestamp(time.time(), UTC) - timedelta(minutes=4 + 7 * number)
    later = end.replace(tzinfo=None) - datetime.fromisoformat(part[-1]["timestamp"])
    with path.open("w") as file:
        writer = csv.writer(file)
        writer.writerow(["timestamp", "value"])
        for row in part:
            at = datetime.fromisoformat(row["timestamp"]) + later
            writer.writerow([at.isoformat(timespec="seconds"), row["value"]])


if __name__ == "__main__":
    main()
