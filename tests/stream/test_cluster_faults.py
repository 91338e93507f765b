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
        load.goes_on()
        server.start()
        load.goes_on()


def test_a_sink_is_killed_again_and_again(station: Station) -> None:
    machine = station.machines[0]
    with station.load() as load:
        for _ in range(4):
            load.goes_on()
            time.sleep(random.uniform(0, 0.5))
            kill_sink(machine)
            machine.start_sink()


def kill_sink(machine: Machine) -> None:
    """Kill -9 of a sink with its writing process, or of the sink alone."""
    assert machine.sink
    if random.random() < 0.5:
        kill(machine.sink)
    else:
        machine.sink.kill()


def test_an_ingest_is_killed_again_and_again(station: Station) -> None:
    machine = station.machines[1]
    with station.load() as load:
        for _ in range(4):
            load.goes_on()
            time.sleep(random.uniform(0, 0.5))
            assert machine.ingest
            kill(machine.ingest)
            machine.start_ingest()


def test_the_file_of_yesterday_is_put_back(station: Station, tmp_path: Path) -> None:
    _, b = station.machines
    with station.load() as load:
        load.goes_on()
        b.tmon("backup", str(tmp_path / "backup"))
        load.goes_on()
        [backup] = (tmp_path / "backup").glob("*.db")
        b.restore(backup)
        load.goes_on()


def test_a_machine_that_is_cut_off_acknowledges_nothing(station: Station) -> None:
    a, _ = station.machines
    with station.load() as load:
        load.goes_on()
        station.cluster.cut_off("a")
        try:
            wait_for(lambda: a.post(station.tokens[0]) == 503)
            load.goes_on()
            assert a.post(station.tokens[0]) == 503
        finally:
            station.cluster.rejoin("a")
        a.wait_for_ingest()
        load.goes_on()
        station.cluster.wait_until_healthy()
