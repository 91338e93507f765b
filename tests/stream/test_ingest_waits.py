"""Ingest that starts where NATS isn't there yet, or isn't as it must be."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import requests
from starlette.applications import Starlette
from starlette.types import Message

from ingest.waiting import Waiting
from tests.station import Process, tmon, wait_for
from tests.stream.streamed import Machine, Server, one_server

READING = {"value": 21.5, "measured_ms": 1_795_348_800_000}


@pytest.fixture
def token(tmp_path: Path, own_server: Server) -> str:
    """A node's, of a station whose server is down."""
    machine = Machine(tmp_path / "a", own_server.url)
    made = machine.tmon_alone("token", "get", "basement").stdout.strip()
    machine.create_streams()
    own_server.stop()
    return made


@pytest.fixture
def ingest(tmp_path: Path, own_server: Server, token: str) -> Iterator[Process]:  # noqa: ARG001
    environ = {"TMON_STREAM": own_server.url, "TMON_PORT": "0"}
    started = Process(tmp_path / "a", "serve", "ingest", environ=environ)
    yield started
    started.kill()


def post(url: str, token: str) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return requests.post(f"{url}/readings", json=READING, headers=headers, timeout=60)


def test_readings_are_refused_until_nats_answers(
    tmp_path: Path, own_server: Server, token: str, ingest: Process
) -> None:
    """A node is told to keep them, rather than that its token is unknown, or nothing at all."""
    url = ingest.addresses(1)["ingest"]
    refused = post(url, token)
    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    assert int(refused.headers["Retry-After"]) > 0
    health = requests.get(f"{url}/healthz", timeout=60)
    assert (health.status_code, health.json()["code"]) == (503, "unavailable")
    assert health.json().keys() >= {"time_ms", "backlog", "oldest_waiting_s"}
    found = tmon(tmp_path, "check", "--ingest-url", url).stdout
    assert "T24 critical" in found
    assert "no NATS server has answered yet" in found
    own_server.start()
    wait_for(lambda: post(url, token).status_code == 201, pause_s=0.1)
    ingest.popen.send_signal(signal.SIGTERM)
    assert ingest.end()[0] == 0


def test_ingest_begins_while_a_stream_has_no_leader(tmp_path: Path) -> None:
    """Such a stream doesn't answer, as here one that isn't asked; the others take readings."""
    silent = '["$JS.API.STREAM.INFO.tmon-readings-3"]'
    users = f"""authorization {{ users: [
        {{user: owner, password: x}},
        {{user: ingest, password: x, permissions: {{publish: {{deny: {silent}}}}}}},
    ]}}"""
    with one_server(tmp_path / "nats", more=users) as server:
        machine = Machine(tmp_path / "a", server.url.replace("//", "//owner:x@"))
        token = machine.tmon_alone("token", "get", "basement").stdout.strip()
        machine.create_streams()
        environ = {"TMON_STREAM": server.url.replace("//", "//ingest:x@"), "TMON_PORT": "0"}
        ingest = Process(machine.folder, "serve", "ingest", environ=environ)
        try:
            url = ingest.addresses(1)["ingest"]
            wait_for(lambda: post(url, token).status_code == 201, pause_s=0.1)
        finally:
            ingest.kill()


def test_a_signal_ends_ingest_that_waits_for_nats(ingest: Process) -> None:
    url = ingest.addresses(1)["ingest"]
    assert requests.get(f"{url}/healthz", timeout=60).status_code == 503
    ingest.popen.send_signal(signal.SIGTERM)
    assert ingest.end()[0] == 0


def test_what_ingest_cant_begin_with_is_one_line(tmp_path: Path, own_server: Server) -> None:
    machine = Machine(tmp_path / "a", own_server.url)
    machine.make_node("basement")
    environ = {"TMON_STREAM": own_server.url, "TMON_PORT": "0"}
    status, said = Process(machine.folder, "serve", "ingest", environ=environ).end()
    assert status == 1
    assert "`tmon stream create`" in said
    assert said.count("\n") == 1


def test_a_cancellation_that_is_swallowed_is_sent_again() -> None:
    """As NATS' client does at times, in Python up to 3.11."""

    @asynccontextmanager
    async def connecting(_: Starlette) -> AsyncIterator[None]:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()
        yield

    async def refuse(*_: object) -> None:
        pytest.fail("nobody asks")

    async def live() -> None:
        messages = iter(["lifespan.startup", "lifespan.shutdown"])
        told = []

        async def receive() -> Message:
            return {"type": next(messages)}

        async def send(message: Message) -> None:
            told.append(message["type"])

        app = Waiting(Starlette(lifespan=connecting), refuse, patience_s=0.01)
        await app({"type": "lifespan", "state": {}}, receive, send)
        assert told == ["lifespan.startup.complete", "lifespan.shutdown.complete"]

    asyncio.run(asyncio.wait_for(live(), 60))
