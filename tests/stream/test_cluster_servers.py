"""NATS servers are killed, under load; nothing is lost, as in test_cluster_faults.py."""

import random

from tests.station import wait_for
from tests.stream.cluster import NAMES
from tests.stream.machines import Station, kill


def test_a_nats_server_is_killed(clustered: Station) -> None:
    server = clustered.cluster[random.choice(NAMES)]
    with clustered.load() as load:
        load.goes_on()
        server.kill()
        try:
            load.goes_on()
            found = f"T27 warning: NATS server {server.name}: it is down"
            wait_for(  # the streams that carry nothing elect their leaders, too
                lambda: any(line.startswith(found) for line in clustered.machines[0].findings()),
                pause_s=0.2,
            )
        finally:
            server.start()
        load.goes_on()


def test_an_ingest_waits_for_servers_that_are_too_few(clustered: Station) -> None:
    """As after a power cut, when the machines start one after the other."""
    a, _ = clustered.machines
    with clustered.load() as load:
        load.goes_on()
        clustered.cluster.close()
        assert a.ingest
        kill(a.ingest)
        clustered.cluster["a"].start()
        told = len(a.log)
        a.start_ingest()
        wait_for(lambda: "tmon.ingest: waiting for the streams" in a.log[told:])
        wait_for(lambda: a.post(clustered.tokens[0]))  # it listens
        assert a.post(clustered.tokens[0]) == 503
        for name in ("b", "c"):
            clustered.cluster[name].start()
        clustered.cluster.wait_until_healthy()
        a.wait_for_ingest()
        load.goes_on()
