"""A real browser, that fails a test for what its visitors would not forgive."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from shutil import which
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

# Debian's. Its shell without windows takes half the CPU time of the whole browser.
CHROMIUM = which("chromium-headless-shell") or "/usr/bin/chromium"
ARGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync"
)
PHONE, TABLET, DESK = 390, 820, 1440
PAGE_MS = 120_000  # for what a page shows, also on a busy machine

expect.set_options(timeout=PAGE_MS)

# A page is looked at in one of them, and in `make soak` in all.
LOOKS = [(width, scheme) for width in (PHONE, TABLET, DESK) for scheme in ("light", "dark")]


def looks(places: Sequence[str]) -> list[Any]:
    """Parameters (place, width, scheme): each place in its turn's look, the others for soak."""
    return [
        pytest.param(place, *look, marks=[] if turn == number % len(LOOKS) else pytest.mark.soak)
        for number, place in enumerate(places)
        for turn, look in enumerate(LOOKS)
    ]


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's, without a screen."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS.split())
        yield browser
        browser.close()


@contextmanager
def visit(
    browser: Browser, width: int = DESK, *, may_fail: bool = False, **how: Any
) -> Iterator[Page]:
    """A page that asks no foreign host, and has no errors unless it may; or the test fails."""
    page = browser.new_page(viewport={"width": width, "height": 844}, **how)
    page.set_default_timeout(PAGE_MS)
    troubles: list[str] = []
    hosts: set[str] = set()
    page.on("console", lambda message: troubles.append(f"{page.url}: {message.text}"))
    page.on("pageerror", lambda error: troubles.append(f"{page.url}: {error}"))
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    yield page
    page.close()
    assert may_fail or troubles == []
    assert len(hosts) <= 1


def scrolls_sideways(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))


def violations(page: Page) -> list[str]:
    """What axe-core finds on a page, once nothing fades in any more: the rule, and where."""
    page.evaluate("Promise.allSettled(document.getAnimations().map((one) => one.finished))")
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [f"{one['id']}: {node['target']}" for one in found for node in one["nodes"]]
