"""The two databases most tests look at, each published once."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.publish.browsing import chromium
from tests.publish.published import PATIENT_MS, Serve, Site, fill, served
from tests.station import tmon
from tmon.db.connect import open_database


@pytest.fixture(scope="session")
def serve() -> Iterator[Serve]:
    sites: list[Site] = []

    def publish(*places: Path) -> Site:
        sites.append(running.enter_context(served(*places)))
        return sites[-1]

    with ExitStack() as running:
        yield publish
        for site in sites:
            site.server.should_exit = True  # all end together, rather than one after the other


@pytest.fixture(scope="session")
def empty(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Site:
    path = tmp_path_factory.mktemp("empty") / "tmon.db"
    open_database(path, create=True).close()
    return serve(path)


@pytest.fixture(scope="session")
def site(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Site:
    path = tmp_path_factory.mktemp("filled") / "tmon.db"
    with open_database(path, create=True) as db:
        fill(db)
    return serve(path)


@pytest.fixture
def limited(site: Site) -> Iterator[Site]:
    """``site`` with the time limits that tmon ships, for tests of what they end."""
    site.limit_queries(site.datasette.setting("sql_time_limit_ms"))
    yield site
    site.limit_queries(PATIENT_MS)


@pytest.fixture(scope="session")
def offering(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """One that offers its whole database, of which there are two copies."""
    folder = tmp_path_factory.mktemp("offering")
    with open_database(folder / "tmon.db", create=True) as db:
        fill(db)
    for _ in range(2):
        assert tmon(folder, "backup", "--publish", "offered").returncode == 0
    return serve(folder / "tmon.db", folder / "offered")


@pytest.fixture(scope="module")  # while it runs, no test can have an event loop of its own
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running
