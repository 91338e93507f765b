"""What may happen to a station on three machines, under load: nothing acknowledged is lost.

After each, both files have all acknowledged readings, each once, and are the same: see
``Station.load``. The full counts are in test_cluster_soak.py.
"""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.station import wait_for
from tests.stream.cluster import NAMES
from tests.stream.machines import Machine, Station, kill, two_machines

NODES = 6


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    with two_machines(tmp_path_factory.mktemp("cluster"), NODES) as running:
        yield running


def test_a_nats_server_is_killed(station: Station) -> None:
    server = station.cluster[random.choice(NAMES)]
    with station.load() as load:
        load.goes_on()
        server.kill()
        try:
            load.goes_on()
            found = f"T27 warning: NATS server {server.name}: it is down"
            wait_for(  # the streams that carry nothing elect their leaders, too
                lambda: any(line.startswith(found) for line in station.machines[0].findings()),
                pause_s=0.2,
            )
        finally:
            server.start()
        load.goes_on()


def test_an_ingest_waits_for_servers_that_are_too_few(station: Station) -> None:
    """As after a power cut, when the machines start one after the other."""
    a, _ = station.machines
    with station.load() as load:
        load.goes_on()
        station.cluster.close()
        assert a.ingest
        kill(a.ingest)
        station.cluster["a"].start()
        a.start_ingest()
        wait_for(lambda: "tmon.ingest: waiting for the streams" in a.log)
        assert a.post(station.tokens[0]) == 503
        for name in ("b", "c"):
            station.cluster[name].start()
        station.cluster.wait_until_healthy()
        a.wait_for_ingest()
        load.goes_on()


def test_sinks_and_ingests_are_killed_again_and_again(station: Station) -> None:
    a, b = station.machines
    with station.load() as load:
        for _ in range(3):
            load.goes_on()
            time.sleep(random.uniform(0, 0.5))
            kill_sink(a)
            a.start_sink()
            load.goes_on()
            assert b.ingest
            kill(b.ingest)
            b.start_ingest()


def kill_sink(machine: Machine) -> None:
    """Kill -9 of a sink with its writing process, or of the sink alone."""
    assert machine.sink
    if random.random() < 0.5:
        kill(machine.sink)
    else:
        machine.sink.kill()


def test_the_file_of_yesterday_is_put_back(station: Station, tmp_path: Path) -> None:
    _, b = station.machines
    with station.load() as load:
        load.goes_on()
        b.tmon("backup", str(tmp_path / "backup"))
        load.goes_on()
        [backup] = (tmp_path / "backup").glob("*.db")
        b.restore(backup)
        load.goes_on()


@pytest.mark.parametrize("others_go_on", [False, pytest.param(True, marks=pytest.mark.soak)])
def test_a_machine_that_is_cut_off_acknowledges_nothing(
    station: Station, *, others_go_on: bool
) -> None:
    a, _ = station.machines
    with station.load() as load:
        load.goes_on()
        station.cluster.cut_off("a")
        try:
            wait_for(lambda: a.post(station.tokens[0]) == 503)
            if others_go_on:
                load.goes_on()
            assert a.post(station.tokens[0]) == 503
        finally:
            station.cluster.rejoin("a")
        a.wait_for_ingest()
        load.goes_on()
        station.cluster.wait_until_healthy()


def test_without_a_majority_ingest_isnt_healthy(station: Station) -> None:
    """It is connected to the server that is left, and nobody sends anything."""
    a, _ = station.machines
    others = [station.cluster[name] for name in NAMES if name != a.name]
    for server in others:
        server.kill()
    try:
        wait_for(lambda: not a.is_well())
        assert [a.is_well() for _ in range(5)] == [False] * 5
        wait_for(lambda: any(line.startswith("T24 critical") for line in a.findings()))
        told = "".join(a.findings())
        assert "16 streams of 16 without a leader" in told
        assert "one more and nothing is stored" not in told
    finally:
        for server in others:
            server.start()
    station.cluster.wait_until_healthy()
    a.wait_for_ingest()


def test_an_ingest_leaves_a_server_that_has_lost_the_others(station: Station) -> None:
    a, _ = station.machines
    assert a.ingest
    kill(a.ingest)
    a.start_ingest()  # it begins with the server of its machine
    a.wait_for_ingest()
    with station.load() as load:
        load.goes_on()
        for link in station.cluster.routes("a"):
            link.cut()
        try:
            wait_for(lambda: a.post(station.tokens[0]) == 201)
        finally:
            for link in station.cluster.routes("a"):
                link.join()
        load.goes_on()
        station.cluster.wait_until_healthy()


def test_an_ingest_that_gets_no_readings_leaves_such_a_server_too(station: Station) -> None:
    """A proxy sends it none while it isn't healthy."""
    a, _ = station.machines
    assert a.ingest
    kill(a.ingest)
    a.start_ingest()
    a.wait_for_ingest()
    for link in station.cluster.routes("a"):
        link.cut()
    try:
        wait_for(lambda: not a.is_well())
        wait_for(a.is_well)
        assert a.post(station.tokens[0]) == 201
    finally:
        for link in station.cluster.routes("a"):
            link.join()
    station.cluster.wait_until_healthy()
