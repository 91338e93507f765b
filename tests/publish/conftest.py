"""The two databases most tests look at, each published once."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from ingest.schema import open_database
from tests.publish.published import Serve, Site, fill, served


@pytest.fixture(scope="session")
def serve() -> Iterator[Serve]:
    with ExitStack() as running:
        yield lambda path: running.enter_context(served(path))


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
