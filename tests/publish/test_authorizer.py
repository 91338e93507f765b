"""What statements may do is what our pages are seen to do: no less, and no more."""

import re
import sqlite3 as names
from collections.abc import Iterator
from html import unescape
from typing import ClassVar
from urllib.parse import parse_qsl, urljoin, urlsplit

import pytest

from tests.publish.published import MARCH_MS, Site, fill, served
from tmon.db.connect import open_database
from tmon.pages import limited_connection as limits
from tmon.pages.limited_connection import LimitedConnection
from tmon.serve import datasette_app

# A page of each kind, or two; `make soak` walks all that these lead to.
PAGES = (
    *("/", "/?q=a+b+c+d+e+f+g+h&sort=silent", "/node/basement", "/node/basement/temperature"),
    *("/node/basement.json?resolution=hourly", "/node/attic?range=all", "/incidents.atom"),
    *("/datapackage.json", "/sitemap.xml", "/robots.txt", "/-/", "/-/versions.json"),
    *("/tmon", "/tmon.json", "/tmon/-/schema", "/tmon/-/query", "/tmon/-/query?sql=select+1"),
    *("/tmon/-/query.csv?sql=explain+select+1", "/tmon/-/queries.json", "/-/jump.json?q=read"),
    *("/tmon/readings", "/tmon/readings?_facet=sensor&sensor=2", "/tmon/readings?_sort=value"),
    *("/tmon/readings.json?_labels=on&_size=max", "/tmon/readings.csv?_size=5&_labels=on"),
    f"/tmon/readings/1,{MARCH_MS}",
    '/tmon/sensors?_through={"table":"readings","column":"sensor","value":"2"}',
    *("/tmon/sensors/2", "/tmon/sensors/2.json?_extra=foreign_key_tables", "/tmon/nodes/-/schema"),
    *("/tmon/nodes", "/tmon/nodes/basement", "/tmon/rejected", "/tmon/incidents", "/tmon/sensors"),
    *("/tmon/latest", "/tmon/latest_clean?_facet=unit", "/tmon/daily", "/tmon/hourly_clean"),
    *("/tmon/latest_readings", "/tmon/day", "/tmon/year_by_day.json", "/tmon/silent_nodes"),
    *("/tmon/coldest_and_hottest", "/tmon/gaps", "/tmon/rejected_lately"),
)
LINK = re.compile(r'(?:href|src|action)="([^"]+)"')


class Recording(LimitedConnection):
    """Allows everything, and notes what was asked for."""

    actions: ClassVar[set[tuple[int, str | None, str | None]]] = set()
    most_calls = most_quadratic_calls = 0

    def _authorize(self, action: int, first: str | None, second: str | None, *_: str | None) -> int:
        super()._authorize(action, first, second)
        self.actions.add((action, first, second))
        Recording.most_calls = max(self.most_calls, self._authorizer_calls)
        Recording.most_quadratic_calls = max(self.most_quadratic_calls, self._quadratic_calls)
        return names.SQLITE_OK


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    path = tmp_path_factory.mktemp("recorded") / "tmon.db"
    with open_database(path, create=True) as db:
        fill(db)
    ours = datasette_app.ReadOnlyDatabase.connection_class
    datasette_app.ReadOnlyDatabase.connection_class = Recording  # type: ignore[method-assign]
    try:
        with served(path) as site:
            yield site
    finally:
        datasette_app.ReadOnlyDatabase.connection_class = ours  # type: ignore[method-assign]


def links(site: Site, page: str) -> Iterator[str]:
    """Where a page leads to on the same site."""
    answer = site.get(page)
    assert answer.status_code == 200, page
    if "html" in answer.headers["content-type"]:
        for link in LINK.findall(answer.text):
            url = urljoin(site.url + page, unescape(link)).partition("#")[0]
            if url.startswith(f"{site.url}/"):
                yield url.removeprefix(site.url)


def kind(page: str) -> tuple[str, frozenset[str]]:
    """Pages of one kind differ in their numbers and values only."""
    parts = urlsplit(page)
    return re.sub(r"\d+", "0", parts.path), frozenset(name for name, _ in parse_qsl(parts.query))


def assert_what_is_allowed_is_what_is_needed() -> None:
    pragmas = {
        (first, second is not None)
        for action, first, second in Recording.actions
        if action == names.SQLITE_PRAGMA
    }
    assert {name for name, with_value in pragmas if with_value} == limits.PRAGMAS
    assert {name for name, with_value in pragmas if not with_value} == limits.PRAGMAS_WITHOUT_VALUE
    actions = {action for action, _, _ in Recording.actions}
    actions -= {names.SQLITE_PRAGMA, names.SQLITE_UPDATE}  # by name
    assert actions | {names.SQLITE_RECURSIVE} == limits.ACTIONS  # stored queries may well recurse
    for action, first, second in Recording.actions:
        assert limits.is_allowed(action, first, second)
    assert Recording.most_calls < limits.MAX_AUTHORIZER_CALLS / 4
    assert Recording.most_quadratic_calls <= limits.MAX_QUADRATIC_CALLS


def test_our_pages_need_all_that_is_allowed_and_nothing_else(recorded: Site) -> None:
    for page in PAGES:
        list(links(recorded, page))
    assert_what_is_allowed_is_what_is_needed()


@pytest.mark.soak
def test_no_page_that_is_linked_needs_more(recorded: Site) -> None:
    kinds = {kind(page) for page in PAGES}
    pages = [*PAGES]
    for page in pages:
        for link in links(recorded, page) if "/-/query.json" not in page else ():
            if kind(link) not in kinds:
                kinds.add(kind(link))
                pages.append(link)
    assert_what_is_allowed_is_what_is_needed()
