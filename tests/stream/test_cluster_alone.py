"""A NATS server that has lost the two others takes nothing, and ingest finds out."""

import pytest

from tests.station import wait_for
from tests.stream.machines import Station, kill


def test_an_ingest_leaves_a_server_that_has_lost_the_others(clustered: Station) -> None:
    a, _ = clustered.machines
    assert a.ingest
    kill(a.ingest)
    a.start_ingest()  # it begins with the server of its machine
    a.wait_for_ingest()
    with clustered.load() as load:
        load.goes_on()
        for link in clustered.cluster.routes("a"):
            link.cut()
        try:
            wait_for(lambda: a.post(clustered.tokens[0]) == 201)
        finally:
            for link in clustered.cluster.routes("a"):
                link.join()
        load.goes_on()
        clustered.cluster.wait_until_healthy()


@pytest.mark.parametrize("leader", ["b", pytest.param("a", marks=pytest.mark.soak)])
def test_an_ingest_that_gets_no_readings_leaves_such_a_server_too(
    clustered: Station, leader: str
) -> None:
    """A proxy sends it none while it isn't healthy.

    If the server was the leader, it takes up to 20 s to notice.
    """
    a, _ = clustered.machines
    clustered.cluster.lead(leader)
    assert a.ingest
    kill(a.ingest)
    a.start_ingest()
    a.wait_for_ingest()
    for link in clustered.cluster.routes("a"):
        link.cut()
    try:
        wait_for(lambda: not a.is_well())
        wait_for(a.is_well)
        assert a.post(clustered.tokens[0]) == 201
    finally:
        for link in clustered.cluster.routes("a"):
            link.join()
    clustered.cluster.wait_until_healthy()
