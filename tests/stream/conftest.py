"""NATS servers, and the first machine of a cluster."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stream.machines import Station
from tests.stream.machines import two_machines as two_clustered_machines
from tests.stream.streamed import Machine, Server, begun, delete_streams, one_server
from tests.stream.two_machines import TwoMachines, two_machines


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with one_server(tmp_path_factory.mktemp("nats")) as running:
        yield running


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """One of the test's own, which may stop it."""
    with one_server(tmp_path / "nats") as running:
        yield running


@pytest.fixture
def machine(tmp_path: Path, server: Server) -> Iterator[Machine]:
    """The first machine of a cluster, with a node, of which nothing runs yet."""
    yield begun(tmp_path / "a", server.url)
    delete_streams(server.url)


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoMachines]:
    """Two machines for many cases, each with nodes of its own."""
    with two_machines(tmp_path_factory.mktemp("two")) as running:
        yield running


@pytest.fixture(scope="module")
def clustered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """Two machines and three NATS servers, each a process, for faults of all kinds."""
    with two_clustered_machines(tmp_path_factory.mktemp("cluster"), nodes=6) as running:
        yield running
