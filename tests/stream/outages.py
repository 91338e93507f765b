"""Times in which a node got no acknowledgement: how long, what it was answered, what was up."""

import socket
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from time import monotonic, time
from typing import NamedTuple

from tests.stream.cluster import Cluster
from tmon.stream.messages import stream_name

PAUSE_S = 0.1
KEPT = 10  # of a node, the longest


class Outage(NamedTuple):
    """The time between two acknowledgements of a node, in seconds of ``monotonic``."""

    node: str
    partition: int
    began_s: float
    ended_s: float
    answers: Counter[str]  # other than acknowledgements, by ingest

    @property
    def lasted_s(self) -> float:
        return self.ended_s - self.began_s


class Look(NamedTuple):
    """What was up at a moment."""

    at_s: float
    ingests: int  # that listen
    servers: int
    led: set[str]  # streams with a leader


class Watch(threading.Thread):
    """Looks again and again at what is up."""

    def __init__(self, cluster: Cluster, ports: Sequence[int]) -> None:
        super().__init__()
        self._cluster = cluster
        self._ports = ports
        self._looks = [self._look()]
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(PAUSE_S):
            self._looks.append(self._look())

    def end(self) -> None:
        self._ended.set()
        self.join()

    def _look(self) -> Look:
        at_s, listening = monotonic(), 0
        for port in self._ports:
            with socket.socket() as sock:
                listening += sock.connect_ex(("127.0.0.1", port)) == 0
        up = self._cluster.up
        return Look(at_s, listening, len(up), {name for server in up for name in server.led()})

    def reachable_s(self, outage: Outage) -> float:
        """How long the node could reach an ingest in it."""
        return sum(took_s for took_s, _ in self._reachable(outage))

    def led_s(self, outage: Outage) -> float:
        """How long the node's stream had a leader besides, so that it could have gone on."""
        stream = stream_name(outage.partition)
        return sum(took_s for took_s, look in self._reachable(outage) if stream in look.led)

    def describe(self, outage: Outage) -> str:
        """An outage, what was up in it, and what the node was answered."""
        parts = self._reachable(outage)
        majority_s = sum(took_s for took_s, look in parts if look.servers >= 2)
        begin = datetime.fromtimestamp(time() - monotonic() + outage.began_s, UTC)
        return (
            f"{outage.node} from {begin:%H:%M:%S.%f}: {self.reachable_s(outage):.1f} s, of them"
            f" {majority_s:.1f} s with a majority of the servers, and {self.led_s(outage):.1f} s"
            " in which its stream had a leader"
        ) + "".join(f"\n    {count} x {answer}" for answer, count in outage.answers.most_common())

    def _reachable(self, outage: Outage) -> Iterator[tuple[float, Look]]:
        """The parts of an outage in which an ingest could be reached."""
        for look, following in zip(self._looks, self._looks[1:], strict=False):
            took_s = min(following.at_s, outage.ended_s) - max(look.at_s, outage.began_s)
            if look.ingests and took_s > 0:
                yield took_s, look
