"""/healthz tells a proxy which machine takes readings, also while none comes."""

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import requests
from nats.aio.client import Client
from nats.js.api import ClusterInfo

from tests.station import Station, wait_for
from tests.stream.streamed import Machine, Server, begun
from tmon.stream.availability import Availability, has_majority
from tmon.stream.messages import PARTITIONS, stream_name


@pytest.fixture
def machine(tmp_path: Path, own_server: Server) -> Machine:
    return begun(tmp_path / "a", own_server.url)


@pytest.fixture
def station(machine: Machine) -> Iterator[Station]:
    with machine.ingest() as running:
        yield running


def health(station: Station) -> tuple[int, str | None]:
    answer = requests.get(f"{station.url}/healthz", timeout=60)
    assert answer.json().keys() >= {"time_ms", "backlog", "oldest_waiting_s"}
    return answer.status_code, answer.json().get("code")


@pytest.mark.parametrize("sends", [False, True])
def test_without_a_server_it_isnt_healthy_until_one_is_back(
    station: Station, own_server: Server, sends: bool
) -> None:
    assert health(station) == (200, None)
    if sends:
        assert station.post([{"value": 1}]).status_code == 201
    own_server.stop()
    wait_for(lambda: health(station) == (503, "unavailable"))
    if sends:
        assert station.post([{"value": 2}]).status_code == 503
    own_server.start()
    wait_for(lambda: health(station) == (200, None))


def test_streams_without_a_leader_take_nothing(machine: Machine, station: Station) -> None:
    """As one that was deleted has none; it is enough that one of all has."""

    async def delete(client: Client, partitions: range) -> None:
        for partition in partitions:
            await client.jetstream().delete_stream(stream_name(partition))

    machine.ask(partial(delete, partitions=range(PARTITIONS - 1)))
    assert health(station) == (200, None)
    machine.ask(partial(delete, partitions=range(PARTITIONS - 1, PARTITIONS)))
    wait_for(lambda: health(station) == (503, "unavailable"))


def test_strangers_dont_make_the_servers_busy(machine: Machine) -> None:
    """However many ask for /healthz, the servers are asked once a second."""

    async def asked(client: Client) -> int:
        availability = Availability(client, clock=lambda: 0.0)
        await availability.check()
        before = client.stats["out_msgs"]
        await asyncio.gather(*(availability.check() for _ in range(100)))
        return int(client.stats["out_msgs"]) - before

    assert machine.ask(asked) == 0


@pytest.mark.parametrize(
    ("leader", "heard_s", "expected"),
    [
        ("a", [0.4, 0.9], True),
        ("a", [0.4, 300.0], True),
        ("a", [8.2, 8.2], False),  # it is cut off, and hasn't noticed
        ("", [0.4, 0.9], False),
        ("a", [], True),
        ("a", [0.1, 0.1, 9.0, 9.0], True),
        ("a", [0.1, 9.0, 9.0, 9.0], False),
    ],
)
def test_a_leader_that_hears_from_no_majority_takes_nothing(
    leader: str, heard_s: list[float], expected: bool
) -> None:
    """As the server of a machine that is cut off says that it leads, for up to 16 s."""
    replicas = [{"name": "b", "current": True, "active": int(s * 1e9)} for s in heard_s]
    cluster = ClusterInfo.from_response({"leader": leader, "replicas": replicas})
    assert has_majority(cluster) is expected
