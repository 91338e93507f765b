"""What may happen to a station on three machines, under load: nothing acknowledged is lost.

After each, both files have all acknowledged readings, each once, and are the same: see
``Station.load``. The full counts are in test_cluster_soak.py.
"""

import random
import time
from pathlib import Path

import pytest

from tests.station import wait_for
from tests.stream.cluster import NAMES
from tests.stream.machines import Station, kill, kill_sink


def test_sinks_and_ingests_are_killed_again_and_again(clustered: Station) -> None:
    a, b = clustered.machines
    with clustered.load() as load:
        for _ in range(3):
            load.goes_on()
            time.sleep(random.uniform(0, 0.5))
            kill_sink(a)
            a.start_sink()
            load.goes_on()
            assert b.ingest
            kill(b.ingest)
            b.start_ingest()


def test_the_file_of_yesterday_is_put_back(clustered: Station, tmp_path: Path) -> None:
    _, b = clustered.machines
    with clustered.load() as load:
        load.goes_on()
        b.tmon("backup", str(tmp_path / "backup"))
        load.goes_on()
        [backup] = (tmp_path / "backup").glob("*.db")
        b.restore(backup)
        load.goes_on()


@pytest.mark.parametrize("others_go_on", [False, pytest.param(True, marks=pytest.mark.soak)])
def test_a_machine_that_is_cut_off_acknowledges_nothing(
    clustered: Station, *, others_go_on: bool
) -> None:
    a, _ = clustered.machines
    with clustered.load() as load:
        load.goes_on()
        clustered.cluster.cut_off("a")
        try:
            wait_for(lambda: a.post(clustered.tokens[0]) == 503)
            if others_go_on:
                load.goes_on()
            assert a.post(clustered.tokens[0]) == 503
        finally:
            clustered.cluster.rejoin("a")
        a.wait_for_ingest()
        load.goes_on()
        clustered.cluster.wait_until_healthy()


@pytest.mark.parametrize("leader", ["b", pytest.param("a", marks=pytest.mark.soak)])
def test_without_a_majority_ingest_isnt_healthy(clustered: Station, leader: str) -> None:
    """It is connected to the server that is left, and nobody sends anything.

    If that one was the leader, it takes up to 20 s to notice.
    """
    a, _ = clustered.machines
    clustered.cluster.lead(leader)
    others = [clustered.cluster[name] for name in NAMES if name != a.name]
    for server in others:
        server.kill()
    try:
        wait_for(lambda: not a.is_well())
        assert [a.is_well() for _ in range(5)] == [False] * 5
        wait_for(lambda: "16 streams of 16 without a leader" in "".join(a.findings()))
        assert "one more and nothing is stored" not in "".join(a.findings())
    finally:
        for server in others:
            server.start()
    clustered.cluster.wait_until_healthy()
    a.wait_for_ingest()
