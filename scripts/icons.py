"""Draw plugins/static/icon-*.png, for phones that keep the page, from icon.svg."""

from pathlib import Path

from playwright.sync_api import sync_playwright

STATIC = Path(__file__).parent.parent / "plugins" / "static"
SIZES = (192, 512)

# Without its round corners: phones cut icons to shapes of their own.
picture = (STATIC / "icon.svg").read_text().replace(' rx="7"', "")
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(
        executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
    )
    for size in SIZES:
        page = browser.new_page(viewport={"width": size, "height": size})
        page.set_content(f'<body style="margin: 0">{picture}</body>')
        page.screenshot(path=STATIC / f"icon-{size}.png")
    browser.close()
