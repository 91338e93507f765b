"""Fixtures: a fake server, a node with sensors, and the client run inside the test's process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from client import client
from tests.client.harness import FakeClock, FakeServer, Node, Once, Ran, SysfsTree


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer().running() as server:
        yield server


@pytest.fixture
def node(tmp_path: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> Node:
    """What it keeps in memory is in a folder of the test, not in this machine's /run."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    return Node(tmp_path, server)


@pytest.fixture
def sysfs(node: Node) -> SysfsTree:
    return node.sysfs


@pytest.fixture
def clock(server: FakeServer) -> FakeClock:
    """Shows the right time, as the server's does, until a test says otherwise."""
    clock = FakeClock(server.time_ms())
    server.time_ms = lambda: clock.wall_ms
    return clock


@pytest.fixture
def once(node: Node, clock: FakeClock, capfd: pytest.CaptureFixture[str]) -> Once:
    """Run the client in this process, by the clock of the test; its exit status tells all."""

    def run(*flags: str, **environ: str) -> Ran:
        status = client.main(["--strict", *flags], {**node.environ, **environ}, clock)
        out, err = capfd.readouterr()
        return Ran(status, out, err)

    return run
